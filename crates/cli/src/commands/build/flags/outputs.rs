//! Where the result goes: all `--output`, `--push` and `--load` together.

mod spec;

use std::io::IsTerminal;
use std::path::Path;

use kiln_build::{Annotation, Destination, ImageForm, Kept, Output, OutputKind, PushedAs, Pushing};
use kiln_oci::Reference;

use spec::{Exporter, ImageOptions, Spec};

/// What the flags say about the result.
pub(super) struct Wishes<'a> {
    /// `--output`, in order.
    pub(super) outputs: &'a [String],
    /// `--push`
    pub(super) push: bool,
    /// `--load`
    pub(super) load: bool,
    /// `--annotation`
    pub(super) annotations: &'a [Annotation],
    /// `-t`
    pub(super) names: &'a [Reference],
    /// Whether a result that goes nowhere becomes an image of the store.
    pub(super) keep_by_default: bool,
    /// Whether the kept image's manifest is to be told.
    pub(super) describe: bool,
}

/// Where the result goes.
#[derive(Debug)]
pub(super) struct Outputs {
    /// As an image of the store.
    pub(super) kept: Option<Kept>,
    /// Elsewhere.
    pub(super) written: Vec<Output>,
}

/// Understands them.
pub(super) fn resolve(wishes: &Wishes<'_>) -> Result<Outputs, String> {
    let mut specs = Vec::new();
    for text in wishes.outputs.iter().filter(|text| !text.is_empty()) {
        specs.push(Spec::parse(text)?);
    }
    if specs.is_empty() && !wishes.push && !wishes.load && wishes.keep_by_default {
        specs.push(Spec::new(Exporter::Image));
    }
    if wishes.push && !specs.iter_mut().any(Spec::push_image) {
        specs.push(Spec { push: true, ..Spec::new(Exporter::Image) });
    }
    if wishes.load && !specs.iter().any(|spec| spec.exporter == Exporter::Docker && spec.dest.is_none()) {
        specs.push(Spec::new(Exporter::Docker));
    }
    let mut outputs = Outputs { kept: None, written: Vec::new() };
    for spec in specs {
        outputs.add(spec, wishes)?;
    }
    let carries = |output: &Output| !matches!(output.kind, OutputKind::Local | OutputKind::Tar);
    if !wishes.annotations.is_empty() && outputs.kept.is_none() && !outputs.written.iter().any(carries) {
        return Err("no output could carry the annotations: file systems have no manifest".into());
    }
    let to_stdout = |output: &&Output| output.destination == Destination::Stdout;
    if outputs.written.iter().filter(to_stdout).count() > 1 {
        return Err("several outputs cannot all go to the standard output: name a dest".into());
    }
    Ok(outputs)
}

impl Outputs {
    fn add(&mut self, spec: Spec, wishes: &Wishes<'_>) -> Result<(), String> {
        let mut output = spec.output;
        output.form.annotations.splice(0..0, wishes.annotations.iter().cloned());
        match spec.exporter {
            Exporter::CacheOnly => {}
            Exporter::Image | Exporter::Docker if spec.dest.is_none() => {
                let names = if wishes.names.is_empty() { output.names.clone() } else { wishes.names.to_vec() };
                if spec.push {
                    self.written.push(Output {
                        destination: Destination::Registry(pushing(&spec.rest, &names)?),
                        ..output.clone()
                    });
                }
                if spec.rest.store {
                    self.kept = Some(kept(names, spec.rest, output.form, wishes.describe));
                }
            }
            Exporter::Image => return Err("an image has no dest: use type=docker or type=oci for a file".into()),
            Exporter::Local | Exporter::DockerDirectory | Exporter::OciDirectory => {
                output.destination = directory(spec.exporter, spec.dest.as_deref())?;
                self.written.push(output);
            }
            Exporter::Docker | Exporter::Oci | Exporter::Tar => {
                output.destination = file(spec.exporter, spec.dest.as_deref())?;
                self.written.push(output);
            }
        }
        Ok(())
    }

    /// Whether an image is made: in the store, in a registry, in an archive.
    pub(super) fn makes_image(&self) -> bool {
        let is_image = |output: &Output| !matches!(output.kind, OutputKind::Local | OutputKind::Tar);
        self.kept.is_some() || self.written.iter().any(is_image)
    }

    /// Whether something that has no id is written: a file system.
    pub(super) fn has_file_system(&self) -> bool {
        self.written.iter().any(|output| matches!(output.kind, OutputKind::Local | OutputKind::Tar))
    }
}

/// How an image of these names goes to their registries.
fn pushing(options: &ImageOptions, names: &[Reference]) -> Result<Pushing, String> {
    if names.is_empty() {
        return Err("tag is needed when pushing to registry".into());
    }
    if !options.by_digest {
        return Ok(Pushing { pushed_as: PushedAs::Tags, insecure: options.insecure });
    }
    if let Some(tagged) = names.iter().find(|name| name.tag().is_some()) {
        return Err(format!("can't push tagged ref {tagged} by digest: name the repository alone"));
    }
    Ok(Pushing { pushed_as: PushedAs::Digest, insecure: options.insecure })
}

/// As what an image of these names is kept.
fn kept(names: Vec<Reference>, options: ImageOptions, form: ImageForm, describe: bool) -> Kept {
    let dangling_prefix = options.dangling_prefix.filter(|_| names.is_empty());
    let has_digest_name = options.canonical || dangling_prefix.is_some();
    let packed = describe || has_digest_name || form != ImageForm::default();
    Kept { names, dangling_prefix, canonical: options.canonical, form, packed }
}

fn directory(exporter: Exporter, dest: Option<&str>) -> Result<Destination, String> {
    let name = exporter.name();
    match dest {
        None | Some("") => Err(format!("dest is required for {name} exporter")),
        Some("-") => Err(format!("dest cannot be stdout for {name} exporter")),
        Some(path) if Path::new(path).is_file() => Err(format!("destination directory {path:?} is a file")),
        Some(path) => Ok(Destination::Path(path.into())),
    }
}

fn file(exporter: Exporter, dest: Option<&str>) -> Result<Destination, String> {
    let name = exporter.name();
    match dest {
        None | Some("" | "-") if std::io::stdout().is_terminal() => {
            Err(format!("dest file is required for {name} exporter. refusing to write to console"))
        }
        None | Some("" | "-") => Ok(Destination::Stdout),
        Some(path) if Path::new(path).is_dir() => Err(format!("destination file {path:?} is a directory")),
        Some(path) => Ok(Destination::Path(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use kiln_build::{AnnotationTarget, MediaTypes};
    use kiln_images::compression::Format;

    use super::*;

    fn resolved(outputs: &[&str], flags: &[&str], names: &[&str]) -> Result<Outputs, String> {
        let annotation = crate::commands::build::flags::annotations::flag("a=b").unwrap();
        let outputs: Vec<String> = outputs.iter().map(|&text| text.to_owned()).collect();
        let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
        resolve(&Wishes {
            outputs: &outputs,
            push: flags.contains(&"push"),
            load: flags.contains(&"load"),
            annotations: if flags.contains(&"annotation") { &annotation } else { &[] },
            names: &names,
            keep_by_default: !flags.contains(&"no default load"),
            describe: false,
        })
    }

    /// Kept or not, and the forms of what is written.
    fn shape(outputs: &[&str], flags: &[&str]) -> String {
        let found = resolved(outputs, flags, &["app"]).unwrap_or_else(|error| panic!("{outputs:?}: {error}"));
        let written = found.written.iter().map(|output| match &output.destination {
            Destination::Path(path) => format!(" {:?} {}", output.kind, path.display()),
            Destination::Stdout => format!(" {:?} -", output.kind),
            Destination::Registry(how) => format!(" push by {:?}", how.pushed_as),
        });
        format!("{}{}", if found.kept.is_some() { "kept" } else { "not" }, written.collect::<String>())
    }

    #[test]
    fn forms_and_places() {
        for (outputs, flags, expected) in [
            (&[][..], &[][..], "kept"),
            (&[], &["no default load"], "not"),
            (&[""], &[], "kept"),
            (&["-"], &[], "not Tar -"),
            (&["out"], &[], "not Local out"),
            (&["type=local,dest=out"], &[], "not Local out"),
            (&["type=tar,dest=a.tar"], &[], "not Tar a.tar"),
            (&["type=oci"], &[], "not Oci -"),
            (&["type=oci,dest=lay,tar=false"], &[], "not OciDirectory lay"),
            (&["type=docker,dest=lay,tar=false"], &[], "not OciDirectory lay"),
            (&["type=docker"], &[], "kept"),
            (&["type=docker,dest=a.tar"], &[], "not Docker a.tar"),
            (&["type=image"], &[], "kept"),
            (&["type=image,push=true"], &[], "kept push by Tags"),
            (&["type=image,push=true,store=false"], &[], "not push by Tags"),
            (&["type=registry"], &[], "kept push by Tags"),
            (&["type=image,push-by-digest=true,push=true"], &[], "kept push by Digest"),
            (&["type=cacheonly"], &[], "not"),
            (&[], &["push"], "kept push by Tags"),
            (&["type=image"], &["push"], "kept push by Tags"),
            (&["out"], &["push"], "kept Local out push by Tags"),
            (&[], &["load"], "kept"),
            (&["out"], &["load"], "kept Local out"),
            (&["type=oci,dest=a", "out", "type=docker,dest=b"], &[], "not Oci a Local out Docker b"),
        ] {
            assert_eq!(shape(outputs, flags), expected, "{outputs:?} {flags:?}");
        }
    }

    #[test]
    fn options() {
        let one = |text: &str| resolved(&[text], &[], &[]).unwrap().written.remove(0);
        let zstd = one("type=oci,dest=a,compression=zstd,compression-level=19,force-compression=true");
        assert!(zstd.form.force_compression && zstd.form.compression == Format::Zstd { level: 19 });
        let gzip = one("type=oci,dest=a,compression-level=9,rewrite-timestamp=true,oci-mediatypes=false");
        assert!(gzip.form.rewrite_timestamp && gzip.form.compression == Format::Gzip { level: 9 });
        assert_eq!(gzip.form.media_types, MediaTypes::Docker);
        let named = one("type=oci,dest=a,\"name=x:1,y\",annotation-manifest.k=v");
        assert_eq!(named.names.len(), 2);
        assert_eq!(named.form.annotations[0].target, AnnotationTarget::Manifest);
        assert_eq!(one("type=local,dest=a,platform-split=false").platform_split, Some(false));
        assert_eq!(one("TYPE=tar,dest=a").kind, OutputKind::Tar);
        for (text, media_types) in [
            ("type=docker,dest=a", MediaTypes::Docker),
            ("type=docker,dest=a,tar=false", MediaTypes::Docker),
            ("type=docker,dest=a,oci-mediatypes=true", MediaTypes::Oci),
            ("type=oci,dest=a", MediaTypes::Oci),
        ] {
            assert_eq!(one(text).form.media_types, media_types, "{text}");
        }
    }

    #[test]
    fn what_is_kept_is_what_was_asked_for() {
        let kept = |options: &str| {
            let text = format!("type=image,{options}");
            resolved(&[&text], &[], &[]).unwrap_or_else(|error| panic!("{text}: {error}")).kept.unwrap()
        };
        assert!(!kept("unpack=true").packed && !kept("oci-mediatypes=").packed);
        for options in
            ["compression=zstd", "compression=gzip,compression-level=9", "oci-mediatypes=false", "annotation.a=b"]
        {
            assert!(kept(options).packed, "{options}");
        }
        let dangling = kept("dangling-name-prefix=app");
        assert_eq!(dangling.dangling_prefix.map(|prefix| prefix.to_string()).as_deref(), Some("docker.io/library/app"));
        assert!(dangling.packed);
        let named = kept("dangling-name-prefix=app,name=b,name-canonical=");
        assert!(named.canonical && named.packed && named.dangling_prefix.is_none());
        let pushed = resolved(&["type=image,name=a,push=,registry.insecure=,store=false"], &[], &[]).unwrap();
        let insecure = Pushing { pushed_as: PushedAs::Tags, insecure: true };
        assert_eq!(pushed.written[0].destination, Destination::Registry(insecure));
        assert!(pushed.kept.is_none());
    }

    #[test]
    fn nonsense_is_named() {
        for (text, message) in [
            ("dest=x", "type is required for output"),
            ("type=nosuch", "unsupported exporter type \"nosuch\""),
            ("type=local", "dest is required for local exporter"),
            ("type=local,dest=-", "dest cannot be stdout for local exporter"),
            ("type=local,dest=/etc/passwd", "destination directory \"/etc/passwd\" is a file"),
            ("type=tar,dest=/", "destination file \"/\" is a directory"),
            ("type=oci,dest=a,what=1", "output option \"what\""),
            ("type=oci,dest=a,nothing", "invalid value nothing"),
            ("type=oci,dest=a,compression=lzma", "unsupported layer compression type lzma"),
            ("type=oci,dest=a,compression=estargz", "estargz"),
            ("type=oci,dest=a,compression-level=ten", "non-int value ten specified for compression-level"),
            ("type=oci,dest=a,compression-level=10", "compression-level 10"),
            ("type=oci,dest=a,rewrite-timestamp=perhaps", "non-bool value perhaps specified for rewrite-timestamp"),
            ("type=oci,dest=a,name=A", "invalid name \"A\""),
            ("type=oci,dest=a,annotation-x.y=1", "unknown annotation type \"x\""),
            ("type=image,unpack=perhaps", "non-bool value perhaps specified for unpack"),
            ("type=image,dangling-name-prefix=app:1", "a digest is put behind it"),
            ("type=image,oci-artifact=true", "kiln makes none"),
            ("type=docker,dest=a,attestation-prefix=b", "kiln makes none"),
            ("type=image,source-date-epoch=0", "--build-arg SOURCE_DATE_EPOCH=0"),
            ("type=image,name=app:1,push=true,push-by-digest=true", "can't push tagged ref docker.io/library/app:1"),
            ("type=tar,dest=a,compression=gzip", "output option \"compression\""),
            ("type=image,push=true", "tag is needed when pushing to registry"),
            ("type=docker,dest=a,context=other", "output option \"context\""),
        ] {
            let error = resolved(&[text], &[], &[]).map(|_| ()).unwrap_err();
            assert!(error.starts_with(message) || error.contains(message), "{text}: {error}");
        }
        let error = resolved(&["out"], &["annotation"], &[]).map(|_| ()).unwrap_err();
        assert!(error.starts_with("no output could carry the annotations"), "{error}");
        assert!(resolved(&["out", "type=oci,dest=a"], &["annotation"], &[]).is_ok());
        let error = resolved(&["-", "type=oci"], &[], &[]).map(|_| ()).unwrap_err();
        assert!(error.contains("several outputs"), "{error}");
    }
}

//! Where a cache is read or written, as people write it: `type=registry,ref=…`, `type=local,dest=…` and so on, or a
//! short form. Takes the fields of one flag; how they were separated is not known here.

use std::path::PathBuf;

use kiln_images::compression::Format;
use kiln_oci::{Digest, Reference};
use kiln_registry::Secret;

use crate::depot::{Bucket, Depot, period};
use crate::mounts::LARGEST_MOUNT;

/// A place that has or gets a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A name in a registry.
    Registry(Reference),
    /// The same in one whose certificate is not checked, or that has none (`registry.insecure=true`).
    InsecureRegistry(Reference),
    /// A directory.
    Directory {
        /// Which.
        path: PathBuf,
        /// One of several caches in it.
        tag: Option<String>,
        /// Only this entry.
        digest: Option<Digest>,
    },
    /// A bucket of an object store.
    ObjectStore(Box<Bucket>),
}

/// One `--cache-from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFrom {
    /// Where.
    pub place: Place,
    /// It was only named: an image of the store that has the name is looked at, too.
    pub is_image: bool,
    /// Cache mounts that do not exist start with what is there.
    pub mounts: bool,
}

/// One `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTo {
    /// Where; `None`: into the image itself.
    pub place: Option<Place>,
    /// Which steps.
    pub mode: Mode,
    /// A cache that cannot be written is a warning.
    pub ignore_error: bool,
    /// The compression of layers that are packed for it.
    pub format: Format,
    /// Cache mounts that the build used go there, too, each up to so many bytes.
    pub mounts: Option<u64>,
}

/// Which steps an export holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those whose layers are in the result.
    #[default]
    Min,
    /// All that the build needed.
    Max,
}

/// Why a flag cannot be understood or followed; says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

fn refused<T>(reason: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError(reason.into()))
}

/// The options of one flag, each taken once.
struct Options {
    flag: &'static str,
    kind: String,
    fields: Vec<(String, String)>,
}

impl Options {
    fn parse(flag: &'static str, fields: &[String]) -> Result<Self, SpecError> {
        let mut options = Options { flag, kind: String::new(), fields: Vec::new() };
        for field in fields {
            let Some((name, value)) = field.split_once('=') else {
                return refused(format!("{flag}: invalid field {field:?}: options are written NAME=VALUE"));
            };
            let name = name.trim().to_ascii_lowercase();
            match name.as_str() {
                "type" => options.kind = value.to_owned(),
                _ => options.fields.push((name, value.to_owned())),
            }
        }
        if options.kind.is_empty() {
            return refused(format!("{flag}: type is required, such as type=registry,ref=user/app:cache"));
        }
        Ok(options)
    }

    /// The last value of an option.
    fn take(&mut self, name: &str) -> Option<String> {
        let value = self.fields.iter().rfind(|(own, _)| own == name).map(|(_, value)| value.clone());
        self.fields.retain(|(own, _)| own != name);
        value
    }

    fn need(&mut self, name: &str) -> Result<String, SpecError> {
        match self.take(name).filter(|value| !value.is_empty()) {
            Some(value) => Ok(value),
            None => refused(format!("{}: type={} needs {name}=…", self.flag, self.kind)),
        }
    }

    fn truth(&mut self, name: &str) -> Result<Option<bool>, SpecError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            _ => refused(format!("{}: {name}={value:?} is neither true nor false", self.flag)),
        }
    }

    fn place(&mut self, directory: &'static str) -> Result<Place, SpecError> {
        match self.kind.as_str() {
            "registry" => {
                let text = self.need("ref")?;
                let insecure = self.truth("registry.insecure")?.unwrap_or_default();
                reference(self.flag, &text).map(if insecure { Place::InsecureRegistry } else { Place::Registry })
            }
            "local" => {
                let path = PathBuf::from(self.need(directory)?);
                let digest = self.take("digest").map(|text| {
                    text.parse().map_err(|error| SpecError(format!("{}: digest={text}: {error}", self.flag)))
                });
                Ok(Place::Directory { path, tag: self.take("tag"), digest: digest.transpose()? })
            }
            "s3" => self.bucket().map(|bucket| Place::ObjectStore(Box::new(bucket))),
            "gha" => refused(format!(
                "{}: type=gha is not supported: it is a service of GitHub's runners; type=registry,ref=ghcr.io/… works there",
                self.flag
            )),
            "azblob" => refused(format!(
                "{}: type=azblob is not supported; use type=registry, or type=s3 with a server that speaks S3",
                self.flag
            )),
            other => refused(format!(
                "{}: unknown type {other:?}: there are registry, local, s3 and (to write) inline",
                self.flag
            )),
        }
    }

    fn bucket(&mut self) -> Result<Bucket, SpecError> {
        let flag = self.flag;
        let no = |name: &str, value: &str, wanted: &str| SpecError(format!("{flag}: {name}={value:?} is no {wanted}"));
        let touch = self.take("touch_refresh");
        let touch = touch.map(|text| period(&text).ok_or_else(|| no("touch_refresh", &text, "time, such as 24h")));
        let parallel = self.take("upload_parallelism");
        let parallel = parallel.map(|text| {
            let number = text.parse().ok().filter(|&number: &usize| number > 0);
            number.ok_or_else(|| no("upload_parallelism", &text, "number above 0"))
        });
        Ok(Bucket {
            bucket: self.need("bucket")?,
            region: self.take("region"),
            name: self.take("name"),
            prefix: self.take("prefix"),
            blobs_prefix: self.take("blobs_prefix"),
            manifests_prefix: self.take("manifests_prefix"),
            endpoint_url: self.take("endpoint_url"),
            use_path_style: self.truth("use_path_style")?.unwrap_or_default(),
            access_key_id: self.take("access_key_id").map(Secret::new),
            secret_access_key: self.take("secret_access_key").map(Secret::new),
            session_token: self.take("session_token").map(Secret::new),
            touch_refresh: touch.transpose()?,
            upload_parallelism: parallel.transpose()?,
            environment: Vec::new(),
        })
    }

    /// What nobody took is a mistake.
    fn finish(self) -> Result<(), SpecError> {
        match self.fields.first() {
            None => Ok(()),
            Some((name, _)) => refused(format!("{}: type={} has no option {name:?}", self.flag, self.kind)),
        }
    }
}

fn reference(flag: &str, text: &str) -> Result<Reference, SpecError> {
    let parsed: Result<Reference, _> = text.parse();
    parsed.map_err(|error| SpecError(format!("{flag}: {text:?} names no image: {error}")))
}

impl CacheFrom {
    /// Understands the fields of one flag; a single one without `=` is the name of an image.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(fields: &[String]) -> Result<Self, SpecError> {
        const FLAG: &str = "--cache-from";
        if let [name] = fields
            && !name.contains('=')
        {
            let place = Place::Registry(reference(FLAG, name)?);
            return Ok(CacheFrom { place, is_image: true, mounts: false });
        }
        let mut options = Options::parse(FLAG, fields)?;
        if options.kind == "inline" {
            return refused("--cache-from: an inline cache is read by the name of its image: type=registry,ref=NAME");
        }
        let place = options.place("src")?;
        let mounts = options.truth("mounts")?.unwrap_or_default();
        options.finish()?;
        Ok(CacheFrom { place, is_image: false, mounts })
    }
}

impl CacheTo {
    /// Understands the fields of one flag; a single one without `=` is the name of an image. `size` reads sizes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(fields: &[String], size: impl Fn(&str) -> Option<u64>) -> Result<Self, SpecError> {
        const FLAG: &str = "--cache-to";
        let plain =
            CacheTo { place: None, mode: Mode::Min, ignore_error: false, format: Format::default(), mounts: None };
        if let [name] = fields
            && !name.contains('=')
        {
            return Ok(CacheTo { place: Some(Place::Registry(reference(FLAG, name)?)), ..plain });
        }
        let mut options = Options::parse(FLAG, fields)?;
        if options.kind == "inline" {
            options.take("mode").map_or(Ok(()), |mode| match mode.as_str() {
                "min" => Ok(()),
                _ => refused("--cache-to: type=inline holds only the image's own layers: mode=min"),
            })?;
            options.finish()?;
            return Ok(plain);
        }
        let place = options.place("dest")?;
        let mode = match options.take("mode").as_deref() {
            None | Some("min") => Mode::Min,
            Some("max") => Mode::Max,
            Some(other) => return refused(format!("{FLAG}: mode={other:?}: there are min and max")),
        };
        let ignore_error = options.truth("ignore-error")?.unwrap_or_default();
        let format = compression(&mut options)?;
        let mounts = mounts(&mut options, size)?;
        for (name, only) in [("oci-mediatypes", true), ("image-manifest", true), ("force-compression", false)] {
            if options.truth(name)?.is_some_and(|value| value != only) {
                return refused(format!("{FLAG}: {name}={} is not supported: it is always {only}", !only));
            }
        }
        options.finish()?;
        Ok(CacheTo { place: Some(place), mode, ignore_error, format, mounts })
    }
}

fn mounts(options: &mut Options, size: impl Fn(&str) -> Option<u64>) -> Result<Option<u64>, SpecError> {
    let wanted = options.truth("mounts")?.unwrap_or_default();
    let limit = match options.take("mounts-limit") {
        None => LARGEST_MOUNT,
        Some(_) if !wanted => return refused("--cache-to: mounts-limit means nothing without mounts=true"),
        Some(text) => match size(&text) {
            Some(limit) => limit,
            None => return refused(format!("--cache-to: mounts-limit={text:?} is no size, such as 500MB")),
        },
    };
    Ok(wanted.then_some(limit))
}

fn compression(options: &mut Options) -> Result<Format, SpecError> {
    let level = options.take("compression-level");
    let level = level.map(|text| {
        text.parse::<i32>().map_err(|_| SpecError(format!("--cache-to: compression-level={text:?} is no number")))
    });
    let level = level.transpose()?;
    let in_range = |level: Option<i32>, default: i32, most: i32| match level.unwrap_or(default) {
        level if (1..=most).contains(&level) => Ok(level),
        level => refused(format!("--cache-to: compression-level={level}: there are 1 to {most}")),
    };
    match options.take("compression").as_deref() {
        None | Some("gzip") => {
            let Format::Gzip { level: default } = Format::GZIP else { return Ok(Format::GZIP) };
            Ok(Format::Gzip { level: in_range(level, default, 12)? })
        }
        Some("zstd") => Ok(Format::Zstd { level: in_range(level, 3, 22)? }),
        Some("uncompressed") => Ok(Format::Uncompressed),
        Some(other) => refused(format!("--cache-to: compression={other:?}: there are gzip, zstd and uncompressed")),
    }
}

impl Place {
    /// A plain path, or the fields of a flag: what `kiln cache export` and `import` take. `directory` is what the
    /// option for a directory is called there.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(
        flag: &'static str,
        text: &str,
        fields: &[String],
        directory: &'static str,
    ) -> Result<Self, SpecError> {
        if !fields.iter().any(|field| field.starts_with("type=")) {
            return Ok(Place::Directory { path: PathBuf::from(text), tag: None, digest: None });
        }
        let mut options = Options::parse(flag, fields)?;
        let place = options.place(directory)?;
        options.finish()?;
        Ok(place)
    }

    /// The depot there; nothing is asked yet. What a bucket's options leave open comes from this process's environment.
    pub fn open(&self, registry: &kiln_registry::Client) -> Depot {
        match self {
            Place::Registry(reference) => Depot::registry(registry.clone(), reference),
            Place::InsecureRegistry(reference) => Depot::insecure_registry(registry.clone(), reference),
            Place::Directory { path, tag, digest } => Depot::directory(path, tag.as_deref(), digest.clone()),
            Place::ObjectStore(bucket) => {
                let environment = std::env::vars_os().filter_map(|(name, value)| {
                    let name = name.into_string().ok().filter(|name| name.starts_with("AWS_"))?;
                    Some((name, Secret::new(value.into_string().ok()?)))
                });
                Depot::bucket(registry.clone(), Bucket { environment: environment.collect(), ..(**bucket).clone() })
            }
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Registry(reference) | Place::InsecureRegistry(reference) => reference.with_default_tag().fmt(f),
            Place::Directory { path, .. } => path.display().fmt(f),
            Place::ObjectStore(bucket) => {
                write!(f, "s3://{}/{}", bucket.bucket, bucket.prefix.as_deref().unwrap_or(""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    fn from(text: &str) -> Result<CacheFrom, String> {
        CacheFrom::parse(&fields(text)).map_err(|error| error.to_string())
    }

    fn to(text: &str) -> Result<CacheTo, String> {
        CacheTo::parse(&fields(text), |text| text.parse().ok()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_buildx_takes_is_understood() {
        let registry = |text: &str| Place::Registry(text.parse().unwrap());
        assert_eq!(
            from("user/app:cache"),
            Ok(CacheFrom { place: registry("user/app:cache"), is_image: true, mounts: false })
        );
        let given = from("type=registry,ref=ghcr.io/a/b:c,mounts=true").unwrap();
        assert_eq!(given, CacheFrom { place: registry("ghcr.io/a/b:c"), is_image: false, mounts: true });
        let directory = |path: &str| Place::Directory { path: path.into(), tag: None, digest: None };
        assert_eq!(from("type=local,src=a/b").unwrap().place, directory("a/b"));
        let given = to("type=local,dest=/c,mode=max,ignore-error=true,compression=zstd,compression-level=9").unwrap();
        assert_eq!(given.place, Some(directory("/c")));
        assert!(given.mode == Mode::Max && given.ignore_error && given.format == Format::Zstd { level: 9 });
        assert_eq!(to("type=inline").unwrap().place, None);
        assert_eq!(to("type=registry,ref=a,mounts=true").unwrap().mounts, Some(LARGEST_MOUNT));
        assert_eq!(to("type=registry,ref=a,mounts=true,mounts-limit=7").unwrap().mounts, Some(7));
        let Some(Place::ObjectStore(bucket)) =
            to("type=s3,bucket=b,region=r,prefix=p/,endpoint_url=http://h,secret_access_key=hush").unwrap().place
        else {
            panic!("no bucket")
        };
        assert_eq!((bucket.bucket.as_str(), bucket.region.as_deref()), ("b", Some("r")));
        assert!(!format!("{bucket:?}").contains("hush"));
        let insecure = from("type=registry,ref=host/a,registry.insecure=true").unwrap().place;
        assert_eq!(insecure, Place::InsecureRegistry("host/a".parse().unwrap()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (answer, words) in [
            (from("type=gha").map(drop), "GitHub"),
            (from("type=azblob").map(drop), "azblob"),
            (from("type=registry").map(drop), "needs ref="),
            (from("type=local,dest=x").map(drop), "needs src="),
            (from("ref=x,y=z").map(drop), "type is required"),
            (from("type=nosuch").map(drop), "unknown type"),
            (from("type=inline").map(drop), "type=registry,ref=NAME"),
            (from("A B").map(drop), "names no image"),
            (from("type=registry,ref=a,what=1").map(drop), "no option \"what\""),
            (to("type=local").map(drop), "needs dest="),
            (to("type=inline,mode=max").map(drop), "mode=min"),
            (to("type=registry,ref=a,mode=most").map(drop), "there are min and max"),
            (to("type=registry,ref=a,ignore-error=perhaps").map(drop), "neither true nor false"),
            (to("type=registry,ref=a,compression=lzma").map(drop), "there are gzip"),
            (to("type=registry,ref=a,compression-level=99").map(drop), "1 to 12"),
            (to("type=registry,ref=a,mounts-limit=1").map(drop), "mounts=true"),
            (to("type=registry,ref=a,image-manifest=false").map(drop), "always true"),
            (to("type=registry,nothing").map(drop), "NAME=VALUE"),
            (to("type=s3,bucket=b,touch_refresh=soon").map(drop), "no time"),
            (to("type=s3,bucket=b,upload_parallelism=0").map(drop), "above 0"),
        ] {
            let error = answer.unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}

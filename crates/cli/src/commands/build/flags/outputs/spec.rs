//! One `--output`: `type=…` and its options. What several of them together mean is beside this.

use kiln_build::{Destination, ImageForm, MediaTypes, Output, OutputKind};
use kiln_images::compression::Format;
use kiln_oci::Reference;

use super::super::{annotations, pairs};

/// Who writes an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exporter {
    CacheOnly,
    Docker,
    DockerDirectory,
    Image,
    Local,
    Oci,
    OciDirectory,
    Tar,
}

impl Exporter {
    /// As docker calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Exporter::CacheOnly => "cacheonly",
            Exporter::Docker | Exporter::DockerDirectory => "docker",
            Exporter::Image => "image",
            Exporter::Local => "local",
            Exporter::Oci | Exporter::OciDirectory => "oci",
            Exporter::Tar => "tar",
        }
    }

    /// Whether it writes an image, with layers and manifests.
    fn is_image(self) -> bool {
        self == Exporter::Image || self.has_layout()
    }

    /// Whether it writes an image layout, which may be an archive or a directory.
    fn has_layout(self) -> bool {
        use Exporter::{Docker, DockerDirectory, Oci, OciDirectory};
        matches!(self, Docker | DockerDirectory | Oci | OciDirectory)
    }

    fn kind(self) -> OutputKind {
        match self {
            Exporter::Docker => OutputKind::Docker,
            Exporter::Local => OutputKind::Local,
            // A directory is an OCI layout, whatever the media types in it.
            Exporter::DockerDirectory | Exporter::OciDirectory => OutputKind::OciDirectory,
            Exporter::Tar => OutputKind::Tar,
            Exporter::CacheOnly | Exporter::Image | Exporter::Oci => OutputKind::Oci,
        }
    }
}

/// An `--output` that is understood.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) exporter: Exporter,
    /// `dest`
    pub(super) dest: Option<String>,
    /// Options of the bytes; its destination is not decided yet.
    pub(super) output: Output,
    /// `push`
    pub(super) push: bool,
    /// Options of images that are kept or pushed.
    pub(super) rest: ImageOptions,
}

/// Options of images that are kept or pushed.
#[derive(Debug)]
pub(super) struct ImageOptions {
    /// `push-by-digest`
    pub(super) by_digest: bool,
    /// `registry.insecure`
    pub(super) insecure: bool,
    /// `store`
    pub(super) store: bool,
    /// `name-canonical`
    pub(super) canonical: bool,
    /// `dangling-name-prefix`
    pub(super) dangling_prefix: Option<Reference>,
}

impl Spec {
    /// Without any option.
    pub(super) fn new(exporter: Exporter) -> Spec {
        let output = Output::new(exporter.kind(), Destination::Stdout);
        let rest =
            ImageOptions { by_digest: false, insecure: false, store: true, canonical: false, dangling_prefix: None };
        Spec { exporter, dest: None, output, push: false, rest }
    }

    /// `PATH`, `-` or `type=…,…`.
    pub(super) fn parse(text: &str) -> Result<Spec, String> {
        let fields = pairs::fields(text)?;
        if let ([only], false) = (fields.as_slice(), text.starts_with("type="))
            && only == text
        {
            if only == "-" {
                return Ok(Spec { dest: Some("-".into()), ..Spec::new(Exporter::Tar) });
            }
            if !only.contains('=') {
                return Ok(Spec { dest: Some(only.clone()), ..Spec::new(Exporter::Local) });
            }
        }
        let mut options = Vec::new();
        for field in &fields {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            let key = key.trim();
            // Names of annotations keep their case.
            let key = if key.contains('.') { key.to_owned() } else { key.to_lowercase() };
            options.push((key, value));
        }
        Spec::understand(&options)
    }

    fn understand(options: &[(String, &str)]) -> Result<Spec, String> {
        let last = |wanted: &str| options.iter().rev().find(|(key, _)| key == wanted).map(|(_, value)| *value);
        let as_directory = last("tar").is_some_and(|value| switch("tar", value) == Ok(false));
        let exporter = match last("type") {
            Some("cacheonly") => Exporter::CacheOnly,
            Some("docker") if as_directory => Exporter::DockerDirectory,
            Some("docker") => Exporter::Docker,
            Some("image" | "registry") => Exporter::Image,
            Some("local") => Exporter::Local,
            Some("oci") if as_directory => Exporter::OciDirectory,
            Some("oci") => Exporter::Oci,
            Some("tar") => Exporter::Tar,
            Some(other) => {
                return Err(format!(
                    "unsupported exporter type {other:?}: use local, tar, oci, docker, image, registry or cacheonly"
                ));
            }
            None => return Err("type is required for output".into()),
        };
        let mut spec = Spec::new(exporter);
        spec.push = last("type") == Some("registry");
        let has_dest = last("dest").is_some();
        if matches!(exporter, Exporter::Docker | Exporter::DockerDirectory) && has_dest {
            spec.output.form.media_types = MediaTypes::Docker;
        }
        let mut level = None;
        for (key, value) in options {
            spec.option(key, value, &mut level)?;
        }
        let form = &mut spec.output.form;
        if let Some(level) = level {
            form.compression = with_level(form.compression, level)?;
        }
        Ok(spec)
    }

    fn option(&mut self, key: &str, value: &str, level: &mut Option<i32>) -> Result<(), String> {
        match key {
            "type" => {}
            "dest" => self.dest = Some(value.to_owned()),
            "rewrite-timestamp" => self.output.form.rewrite_timestamp = go_bool(key, value)?,
            "platform-split" if !self.exporter.is_image() => self.output.platform_split = Some(go_bool(key, value)?),
            "tar" if self.exporter.has_layout() => _ = switch(key, value)?,
            "name" if self.exporter.is_image() => {
                self.output.names = value.split(',').map(reference).collect::<Result<_, _>>()?;
            }
            "compression-level" if self.exporter.is_image() => {
                *level = Some(value.parse().map_err(|_| format!("non-int value {value} specified for {key}"))?);
            }
            _ if self.exporter.is_image() && form_option(&mut self.output.form, key, value)? => {}
            _ if self.exporter == Exporter::Image => return self.image_option(key, value),
            _ => return self.rare_option(key, value),
        }
        Ok(())
    }

    fn image_option(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "push" => self.push |= switch(key, value)?,
            "push-by-digest" => self.rest.by_digest = switch(key, value)?,
            "registry.insecure" => self.rest.insecure = switch(key, value)?,
            "store" => self.rest.store = switch(key, value)?,
            "name-canonical" => self.rest.canonical = switch(key, value)?,
            "dangling-name-prefix" => self.rest.dangling_prefix = Some(prefix(value)?),
            // The layers of an image in the store are unpacked as they were made, or when something reads them.
            "unpack" => _ = switch(key, value)?,
            _ => return self.rare_option(key, value),
        }
        Ok(())
    }

    /// What asks for the default, what only attestations have, and what is not known.
    fn rare_option(&mut self, key: &str, value: &str) -> Result<(), String> {
        let name = self.exporter.name();
        match key {
            "attestation-inline" | "prefer-nondist-layers" | "buildinfo" | "buildinfo-attrs" | "oci-artifact"
                if self.exporter.is_image() && !switch(key, value)? =>
            {
                Ok(())
            }
            "attestation-inline" | "attestation-prefix" | "oci-artifact" => {
                Err(format!("output option {key:?} is about attestations, and kiln makes none"))
            }
            "buildinfo" | "buildinfo-attrs" => Err(format!(
                "output option {key:?} is for a format that was given up; --metadata-file tells of a build"
            )),
            "prefer-nondist-layers" => Err(format!(
                "output option {key:?} is not supported: layers keep the type that their registry gave them"
            )),
            "source-date-epoch" => {
                Err(format!("output option {key:?} is not supported: use --build-arg SOURCE_DATE_EPOCH={value}"))
            }
            _ => Err(format!("output option {key:?} is not known or not supported for type={name}")),
        }
    }

    /// Makes this one pushed, if it is an image.
    pub(super) fn push_image(&mut self) -> bool {
        let is_image = self.exporter == Exporter::Image;
        self.push |= is_image;
        is_image
    }
}

/// An option of how manifests and layers are written; false for other options.
fn form_option(form: &mut ImageForm, key: &str, value: &str) -> Result<bool, String> {
    match key {
        "compression" => form.compression = compression(value)?,
        "force-compression" => form.force_compression = switch(key, value)?,
        "oci-mediatypes" => {
            form.media_types = if switch(key, value)? { MediaTypes::Oci } else { MediaTypes::Docker };
        }
        _ => match annotations::option(key, value) {
            Some(annotation) => form.annotations.push(annotation?),
            None => return Ok(false),
        },
    }
    Ok(true)
}

fn reference(name: &str) -> Result<Reference, String> {
    name.parse().map_err(|error| format!("invalid name {name:?}: {error}"))
}

/// What a digest is put behind: a name without tag and digest.
fn prefix(value: &str) -> Result<Reference, String> {
    let prefix = reference(value)?;
    if prefix.tag().is_some() || prefix.digest().is_some() {
        return Err(format!(
            "invalid dangling-name-prefix {value:?}: a digest is put behind it, so it can have no tag"
        ));
    }
    Ok(prefix)
}

fn compression(value: &str) -> Result<Format, String> {
    match value {
        "gzip" => Ok(Format::GZIP),
        "zstd" => Ok(Format::ZSTD),
        "uncompressed" => Ok(Format::Uncompressed),
        "estargz" => Err("compression estargz is not supported: use gzip, zstd or uncompressed".into()),
        other => Err(format!("unsupported layer compression type {other}: use gzip, zstd or uncompressed")),
    }
}

fn with_level(format: Format, level: i32) -> Result<Format, String> {
    match format {
        Format::Gzip { .. } if (0..=9).contains(&level) => Ok(Format::Gzip { level }),
        Format::Zstd { .. } if (0..=22).contains(&level) => Ok(Format::Zstd { level }),
        Format::Uncompressed => Ok(format),
        _ => Err(format!("compression-level {level} does not exist: gzip has 0 to 9, zstd 0 to 22")),
    }
}

/// A boolean that is true without a value (`push=`).
fn switch(key: &str, value: &str) -> Result<bool, String> {
    if value.is_empty() { Ok(true) } else { go_bool(key, value) }
}

/// As Go reads booleans.
fn go_bool(key: &str, value: &str) -> Result<bool, String> {
    crate::arguments::truth(value).ok_or_else(|| format!("non-bool value {value} specified for {key}"))
}

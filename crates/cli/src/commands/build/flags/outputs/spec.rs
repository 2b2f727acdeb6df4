//! One `--output`: `type=…` and its options. What several of them together mean is beside this.

use kiln_build::{Destination, MediaTypes, Output, OutputKind};
use kiln_images::compression::Format;

use super::super::{annotations, pairs};

/// Who writes an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exporter {
    CacheOnly,
    Docker,
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
            Exporter::Docker => "docker",
            Exporter::Image => "image",
            Exporter::Local => "local",
            Exporter::Oci | Exporter::OciDirectory => "oci",
            Exporter::Tar => "tar",
        }
    }

    /// Whether it writes an image, with layers and manifests.
    fn is_image(self) -> bool {
        matches!(self, Exporter::Docker | Exporter::Image | Exporter::Oci | Exporter::OciDirectory)
    }

    fn kind(self) -> OutputKind {
        match self {
            Exporter::Docker => OutputKind::Docker,
            Exporter::Local => OutputKind::Local,
            Exporter::OciDirectory => OutputKind::OciDirectory,
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
    /// `push-by-digest`
    pub(super) by_digest: bool,
    /// `store`
    pub(super) store: bool,
}

impl Spec {
    /// Without any option.
    pub(super) fn new(exporter: Exporter) -> Spec {
        let output = Output::new(exporter.kind(), Destination::Stdout);
        Spec { exporter, dest: None, output, push: false, by_digest: false, store: true }
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
        let as_directory = last("tar").is_some_and(|value| go_bool("tar", value) == Ok(false));
        let exporter = match last("type") {
            Some("cacheonly") => Exporter::CacheOnly,
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
        let mut level = None;
        for (key, value) in options {
            spec.option(key, value, &mut level)?;
        }
        if let Some(level) = level {
            spec.output.compression = with_level(spec.output.compression, level)?;
        }
        Ok(spec)
    }

    fn option(&mut self, key: &str, value: &str, level: &mut Option<i32>) -> Result<(), String> {
        let is_image = self.exporter.is_image();
        match key {
            "type" => {}
            "dest" => self.dest = Some(value.to_owned()),
            "tar" if matches!(self.exporter, Exporter::Oci | Exporter::OciDirectory) => _ = go_bool(key, value)?,
            "rewrite-timestamp" => self.output.rewrite_timestamp = go_bool(key, value)?,
            "platform-split" if !is_image => self.output.platform_split = Some(go_bool(key, value)?),
            "compression" if is_image => self.output.compression = compression(value)?,
            "compression-level" if is_image => {
                *level = Some(value.parse().map_err(|_| format!("non-int value {value} specified for {key}"))?);
            }
            "force-compression" if is_image => self.output.force_compression = go_bool(key, value)?,
            "oci-mediatypes" if is_image => {
                let oci = go_bool(key, value)?;
                self.output.media_types = if oci { MediaTypes::Oci } else { MediaTypes::Docker };
            }
            "name" if is_image => {
                let parse = |name: &str| name.parse().map_err(|error| format!("invalid name {name:?}: {error}"));
                self.output.names = value.split(',').map(parse).collect::<Result<_, _>>()?;
            }
            _ if self.exporter == Exporter::Image => return self.image_option(key, value),
            _ => return self.rare_option(key, value),
        }
        Ok(())
    }

    fn image_option(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "push" => self.push |= go_bool(key, value)?,
            "push-by-digest" => self.by_digest = go_bool(key, value)?,
            "store" => self.store = go_bool(key, value)?,
            "unpack" if !go_bool(key, value)? => {
                return Err("unpack=false is not supported: an image of the store is its unpacked layers".into());
            }
            "unpack" => {}
            "name-canonical" if go_bool(key, value)? && !self.by_digest => {
                return Err(
                    "name-canonical=true is not supported: any image can be named by its digest as it is".into()
                );
            }
            "name-canonical" => {}
            "registry.insecure" if go_bool(key, value)? => {
                return Err(
                    "registry.insecure=true is not supported: only registries on loopback are spoken to without \
                            TLS, and an authority of your own goes into /etc/docker/certs.d"
                        .into(),
                );
            }
            "registry.insecure" => {}
            _ => return self.rare_option(key, value),
        }
        Ok(())
    }

    /// Annotations; what asks for the default; and what is not known.
    fn rare_option(&mut self, key: &str, value: &str) -> Result<(), String> {
        let is_image = self.exporter.is_image();
        if let Some(annotation) = annotations::option(key, value).filter(|_| is_image) {
            self.output.annotations.push(annotation?);
            return Ok(());
        }
        if is_image
            && matches!(key, "attestation-inline" | "prefer-nondist-layers" | "buildinfo")
            && !go_bool(key, value)?
        {
            return Ok(());
        }
        let name = self.exporter.name();
        Err(format!("output option {key:?} is not known or not supported for type={name}"))
    }

    /// Makes this one pushed, if it is an image.
    pub(super) fn push_image(&mut self) -> bool {
        let is_image = self.exporter == Exporter::Image;
        self.push |= is_image;
        is_image
    }
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
        Format::Gzip { .. } if (1..=9).contains(&level) => Ok(Format::Gzip { level }),
        Format::Zstd { .. } if (1..=22).contains(&level) => Ok(Format::Zstd { level }),
        Format::Uncompressed => Ok(format),
        _ => Err(format!("compression-level {level} does not exist: gzip has 1 to 9, zstd 1 to 22")),
    }
}

/// As Go reads booleans.
fn go_bool(key: &str, value: &str) -> Result<bool, String> {
    crate::arguments::truth(value).ok_or_else(|| format!("non-bool value {value} specified for {key}"))
}

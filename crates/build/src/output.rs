//! Where a result goes: the store, archives, directories.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kiln_images::export::{self, ExportError, ExportOptions, Exported, ImageContent};
use kiln_oci::{Digest, Reference};
use kiln_progress::Task;
use kiln_store::{Store, Timestamp, Union};

use crate::error::{BuildError, chain};
use crate::request::{Destination, Output, OutputKind};

/// What a build made, ready to be written.
pub(crate) struct Built<'a> {
    pub(crate) store: &'a Store,
    pub(crate) images: &'a [ImageContent],
    pub(crate) names: &'a [Reference],
    pub(crate) epoch: Option<i64>,
}

/// Where the bytes of an archive go: a file that takes its place when it is whole, or a stream.
enum Sink {
    File { file: File, temporary: PathBuf, path: PathBuf },
    Stdout(io::Stdout),
}

impl Sink {
    fn open(destination: &Destination) -> io::Result<Self> {
        match destination {
            Destination::Stdout => Ok(Sink::Stdout(io::stdout())),
            Destination::Path(path) => {
                if is_special(path) {
                    let file = File::options().write(true).open(path)?;
                    return Ok(Sink::File { file, temporary: path.clone(), path: path.clone() });
                }
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push(format!(".kiln-{}", std::process::id()));
                let temporary = path.with_file_name(name);
                Ok(Sink::File { file: File::create(&temporary)?, temporary, path: path.clone() })
            }
        }
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        match &self {
            Sink::File { temporary, path, .. } if temporary != path => std::fs::rename(temporary, path),
            _ => Ok(()),
        }
    }

    fn discard(self) {
        if let Sink::File { temporary, path, .. } = &self
            && temporary != path
        {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

/// Whether a path is something that is written in place: a pipe, a device.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::File { file, .. } => file.write(bytes),
            Sink::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::File { file, .. } => file.flush(),
            Sink::Stdout(stdout) => stdout.flush(),
        }
    }
}

impl Built<'_> {
    /// Adds the images to the store, under the build's names; gives their ids.
    pub(crate) fn keep(&self) -> Result<Vec<Digest>, BuildError> {
        let kept = export::store_images(self.store, self.images, self.names);
        let kept = kept.map_err(|error| BuildError::Export(chain(&error)))?;
        Ok(kept.into_iter().map(|image| image.id).collect())
    }

    /// Writes one output.
    pub(crate) fn write(&self, output: &Output, task: &Task) -> Result<Option<Exported>, BuildError> {
        match (output.kind, &output.destination) {
            (OutputKind::Local, Destination::Path(path)) => self.local(path, output).map(|()| None),
            (OutputKind::Local, Destination::Stdout) => {
                Err(BuildError::Export("a directory cannot be written to the standard output; use type=tar".into()))
            }
            _ => self.archive(output, task),
        }
    }

    fn newest(&self, output: &Output) -> Option<Timestamp> {
        self.epoch.filter(|_| output.rewrite_timestamp).map(Timestamp::from_seconds)
    }

    fn local(&self, path: &Path, output: &Output) -> Result<(), BuildError> {
        let fail = |error: io::Error| BuildError::Export(format!("cannot write to {}: {error}", path.display()));
        std::fs::create_dir_all(path).map_err(fail)?;
        let directory = File::open(path).map_err(fail)?;
        let newest = self.newest(output);
        match self.images {
            [image] => self.local_image(&directory, image, newest),
            several => several.iter().try_for_each(|image| {
                let below = path.join(image.platform.to_string().replace('/', "_"));
                std::fs::create_dir_all(&below).map_err(fail)?;
                self.local_image(&File::open(&below).map_err(fail)?, image, newest)
            }),
        }
    }

    fn local_image(&self, directory: &File, image: &ImageContent, newest: Option<Timestamp>) -> Result<(), BuildError> {
        let rootfs = Union::new(image.layers.clone())?;
        export::local(directory.as_fd(), &rootfs, newest).map_err(|error| BuildError::Export(chain(&error)))
    }

    fn archive(&self, output: &Output, task: &Task) -> Result<Option<Exported>, BuildError> {
        let shown = match &output.destination {
            Destination::Path(path) => path.display().to_string(),
            Destination::Stdout => "standard output".into(),
        };
        let fail = |error: io::Error| BuildError::Export(format!("cannot write {shown}: {error}"));
        let mut sink = Sink::open(&output.destination).map_err(fail)?;
        match self.write_archive(&mut sink, output, task) {
            Ok(exported) => {
                sink.finish().map_err(fail)?;
                Ok(exported)
            }
            Err(error) => {
                sink.discard();
                Err(BuildError::Export(format!("cannot write {shown}: {}", chain(&error))))
            }
        }
    }

    fn write_archive(&self, sink: &mut Sink, output: &Output, task: &Task) -> Result<Option<Exported>, ExportError> {
        let names: Vec<Reference> = self.names.iter().chain(&output.names).cloned().collect();
        let options =
            ExportOptions { format: output.compression, newest: self.newest(output), ..ExportOptions::default() };
        match (output.kind, self.images) {
            (OutputKind::Docker, [image]) => export::docker(sink, self.store, image, &names, &options, task).map(Some),
            (OutputKind::Tar, [image]) => {
                let rootfs = Union::new(image.layers.clone())?;
                export::tar(sink, &rootfs, self.newest(output)).map(|_| None)
            }
            _ => export::oci(sink, self.store, self.images, &names, &options, task).map(Some),
        }
    }
}

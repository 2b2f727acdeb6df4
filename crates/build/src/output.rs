//! Where a result goes: the store, archives, directories.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use kiln_images::export::{self, ExportError, ExportOptions, Exported, ImageContent};
use kiln_images::push::Parcel;
use kiln_oci::{Digest, Reference};
use kiln_progress::Task;
use kiln_store::{Store, Timestamp, Union};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

use crate::error::{BuildError, chain};
use crate::push::Push;
use crate::request::{Destination, ImageForm, Kept, Output, OutputKind, Pushing};

/// What a build made, ready to be written.
pub(crate) struct Built<'a> {
    pub(crate) store: &'a Store,
    pub(crate) images: &'a [ImageContent],
    pub(crate) names: &'a [Reference],
    pub(crate) epoch: Option<i64>,
}

/// What became of an output.
pub(crate) enum Written {
    /// It is where it should be; file systems have no description.
    Done(Option<Exported>),
    /// It is ready to be pushed.
    Packed(Push),
}

/// Where the bytes of an archive go: a file that takes its place when it is whole, or a stream.
enum Sink {
    /// Has no name while it is written, if the file system can do that: a killed process leaves nothing then.
    File {
        file: File,
        temporary: PathBuf,
        path: PathBuf,
        is_named: bool,
    },
    Stdout(io::Stdout),
}

impl Sink {
    /// A file at `path`, or the standard output.
    fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Sink::Stdout(io::stdout())) };
        if is_special(path) {
            let file = File::options().write(true).open(path)?;
            return Ok(Sink::File { file, temporary: path.to_owned(), path: path.to_owned(), is_named: true });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".kiln-{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, is_named) = match rustix::fs::open(directory, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => (file.into(), false),
            Err(_) => (File::create(&temporary)?, true),
        };
        Ok(Sink::File { file, temporary, path: path.to_owned(), is_named })
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        match &self {
            Sink::File { file, temporary, path, is_named } if temporary != path => {
                if !is_named {
                    // A process that had the same number may have been killed between the two names.
                    let _ = std::fs::remove_file(temporary);
                    let unnamed = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
                    rustix::fs::linkat(CWD, unnamed, CWD, temporary, AtFlags::SYMLINK_FOLLOW)?;
                }
                take_place(temporary, path)
            }
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

/// Gives the file at `temporary` the name `path`. What had that name is exchanged and then removed: for a rename over
/// a file, ext4 would first write all of the new one to the disk.
fn take_place(temporary: &Path, path: &Path) -> io::Result<()> {
    let replaces_file = path.symlink_metadata().is_ok_and(|there| there.is_file());
    if replaces_file && rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE).is_ok() {
        return std::fs::remove_file(temporary);
    }
    std::fs::rename(temporary, path)
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
    /// Adds the images to the store; gives their ids, and what names them together where that was made.
    pub(crate) fn keep(&self, kept: &Kept, task: &Task) -> Result<(Vec<Digest>, Option<Exported>), BuildError> {
        let failed = |error| BuildError::Export(chain(&error));
        let (images, exported) = if kept.packed {
            let options = self.options(&kept.form);
            let stored = export::store_packed_images(self.store, self.images, &kept.names, &options, task);
            let (images, exported) = stored.map_err(failed)?;
            let ids: Vec<Digest> = images.iter().map(|image| image.id.clone()).collect();
            let names = kept.digest_names(&exported.descriptor.digest);
            export::name_images(self.store, &ids, &names, Some(&exported.descriptor)).map_err(failed)?;
            (images, Some(exported))
        } else {
            (export::store_images(self.store, self.images, &kept.names).map_err(failed)?, None)
        };
        Ok((images.into_iter().map(|image| image.id).collect(), exported))
    }

    /// The build's names, or those of the output if it has none.
    fn names(&self, output: &Output) -> Vec<Reference> {
        if self.names.is_empty() { output.names.clone() } else { self.names.to_vec() }
    }

    fn options(&self, form: &ImageForm) -> ExportOptions {
        ExportOptions {
            format: form.compression,
            force_format: form.force_compression,
            media_types: form.media_types,
            annotations: form.annotations.clone(),
            newest: self.newest(form),
            created: None,
        }
    }

    /// Writes one output, or makes it ready for its registries.
    pub(crate) fn write(&self, output: &Output, task: &Task) -> Result<Written, BuildError> {
        let path = match &output.destination {
            Destination::Registry(pushing) => return self.pack(output, *pushing, task).map(Written::Packed),
            Destination::Path(path) => Some(path.as_path()),
            Destination::Stdout => None,
        };
        let exported = match (output.kind, path) {
            (OutputKind::Local, Some(path)) => self.local(path, output).map(|()| None),
            (OutputKind::OciDirectory, Some(path)) => self.layout(path, output, task).map(Some),
            (OutputKind::Local | OutputKind::OciDirectory, None) => {
                Err(BuildError::Export("a directory cannot be written to the standard output; use type=tar".into()))
            }
            _ => self.archive(path, output, task),
        };
        exported.map(Written::Done)
    }

    fn pack(&self, output: &Output, pushing: Pushing, task: &Task) -> Result<Push, BuildError> {
        let packed = Parcel::of_contents(self.store, self.images, &self.options(&output.form), task);
        let parcel = packed.map_err(|error| BuildError::Export(chain(&error)))?;
        Ok(Push { parcel, names: self.names(output), pushing })
    }

    fn layout(&self, path: &Path, output: &Output, task: &Task) -> Result<Exported, BuildError> {
        let (names, options) = (self.names(output), self.options(&output.form));
        let written = export::oci_directory(path, self.store, self.images, &names, &options, task);
        written.map_err(|error| BuildError::Export(chain(&error)))
    }

    fn newest(&self, form: &ImageForm) -> Option<Timestamp> {
        self.epoch.filter(|_| form.rewrite_timestamp).map(Timestamp::from_seconds)
    }

    fn local(&self, path: &Path, output: &Output) -> Result<(), BuildError> {
        let fail = |error: io::Error| BuildError::Export(format!("cannot write to {}: {error}", path.display()));
        std::fs::create_dir_all(path).map_err(fail)?;
        let newest = self.newest(&output.form);
        match self.images {
            [image] if output.platform_split != Some(true) => self.local_image(path, image, newest),
            several if output.platform_split == Some(false) => {
                several.iter().try_for_each(|image| self.local_image(path, image, newest))
            }
            several => several.iter().try_for_each(|image| {
                let below = path.join(platform_directory(image));
                std::fs::create_dir_all(&below).map_err(fail)?;
                self.local_image(&below, image, newest)
            }),
        }
    }

    fn local_image(&self, path: &Path, image: &ImageContent, newest: Option<Timestamp>) -> Result<(), BuildError> {
        let failed = |reason: String| BuildError::Export(format!("cannot write to {}: {reason}", path.display()));
        let directory = File::open(path).map_err(|error| failed(error.to_string()))?;
        let layers = image.layers_here().map_err(|error| failed(chain(&error)))?;
        let rootfs = Union::new(layers)?;
        export::local(directory.as_fd(), &rootfs, newest).map_err(|error| failed(chain(&error)))
    }

    fn archive(&self, path: Option<&Path>, output: &Output, task: &Task) -> Result<Option<Exported>, BuildError> {
        let shown = path.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
        let fail = |error: io::Error| BuildError::Export(format!("cannot write {shown}: {error}"));
        let mut sink = Sink::open(path).map_err(fail)?;
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

    fn write_rootfs(&self, sink: &mut Sink, output: &Output) -> Result<(), ExportError> {
        let newest = self.newest(&output.form);
        match self.images {
            [image] if output.platform_split != Some(true) => {
                export::tar(sink, &Union::new(image.layers_here()?)?, newest).map(drop)
            }
            several => {
                let tree = |image: &ImageContent| Ok((platform_directory(image), Union::new(image.layers_here()?)?));
                let trees = several.iter().map(tree).collect::<Result<Vec<_>, ExportError>>()?;
                export::tar_of_several(sink, &trees, newest).map(drop)
            }
        }
    }

    fn write_archive(&self, sink: &mut Sink, output: &Output, task: &Task) -> Result<Option<Exported>, ExportError> {
        let (names, options) = (self.names(output), self.options(&output.form));
        match (output.kind, self.images) {
            (OutputKind::Docker, [image]) => export::docker(sink, self.store, image, &names, &options, task).map(Some),
            (OutputKind::Tar, _) => self.write_rootfs(sink, output).map(|()| None),
            _ => export::oci(sink, self.store, self.images, &names, &options, task).map(Some),
        }
    }
}

/// Refuses what a form cannot hold, before anything is built.
pub(crate) fn check(outputs: &[Output], platforms: usize) -> Result<(), BuildError> {
    let refused = |output: &Output| match output.kind {
        OutputKind::Docker => Some("type=docker holds one platform: use type=oci, or build each platform by itself"),
        OutputKind::Tar if output.platform_split == Some(false) => {
            Some("several platforms cannot have the same paths of one tar: leave out platform-split=false")
        }
        _ => None,
    };
    match outputs.iter().find_map(refused) {
        Some(reason) if platforms > 1 => Err(BuildError::Export(reason.into())),
        _ => Ok(()),
    }
}

/// Where a platform's file system is among those of others, such as `linux_arm64`.
fn platform_directory(image: &ImageContent) -> String {
    image.platform.to_string().replace('/', "_")
}

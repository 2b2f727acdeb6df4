//! A container's files as one flat tar.

use std::io::Write;

use kiln_store::Union;

use crate::{Engine, Error};

impl Engine {
    /// Writes the files of a container, running or not, as a flat tar: those of its image with its changes, without
    /// what is in volumes. `output` is flushed.
    ///
    /// # Errors
    /// No such container, before anything is written; an output that cannot be written.
    pub fn export<W: Write>(&self, name: &str, output: W) -> Result<(), Error> {
        let container = self.container(name)?;
        let mut layers = self.container_layers(&container)?;
        layers.push(self.usual_files(&Union::new(layers.clone())?)?);
        layers.extend(self.changes(&container, &Union::new(layers.clone())?)?);
        let mut output = kiln_images::export::tar(output, &Union::new(layers)?, None)?;
        output.flush().map_err(|error| kiln_images::export::ExportError::Write(error).into())
    }
}

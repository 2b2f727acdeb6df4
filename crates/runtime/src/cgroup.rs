//! A control group for one container: made only when a limit is asked for.

use crate::plan::Limits;

/// The group of one container.
pub(crate) struct Group {}

impl Group {
    pub(crate) fn create(_limits: &Limits) -> Result<Group, String> {
        Err("not there yet".into())
    }
    pub(crate) fn join(&self) -> std::io::Result<()> {
        Ok(())
    }
    pub(crate) fn finish(self) -> bool {
        false
    }
}

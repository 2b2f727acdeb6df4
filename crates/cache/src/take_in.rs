//! What a depot has, read into a shelf: documents only.

use crate::catalogue::LARGEST_DOCUMENT;
use crate::depot::{self, Depot, Foreign};
use crate::send::catalogues;
use crate::shelf::Shelf;

/// What was found in a depot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Records of so many entries.
    Entries(usize),
    /// Something that kiln does not read.
    Foreign(Foreign),
    /// Nothing.
    Nothing,
}

impl Shelf {
    /// Reads the entries of `depot` and adds what they list. `warn` hears of entries that are left out.
    ///
    /// # Errors
    /// The depot cannot be reached.
    pub async fn take_in(&mut self, depot: &Depot, warn: &(dyn Fn(String) + Sync)) -> Result<Found, depot::Error> {
        let united = depot.unite(LARGEST_DOCUMENT).await?;
        let read = catalogues(&united, warn);
        let count = read.len();
        read.into_iter().for_each(|catalogue| self.add(depot, catalogue));
        Ok(match united.foreign {
            Some(foreign) => Found::Foreign(foreign),
            None if count == 0 => Found::Nothing,
            None => Found::Entries(count),
        })
    }
}

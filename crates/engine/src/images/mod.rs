//! Images: found, listed, named, shown, removed, loaded, saved.

mod archive;
mod find;
mod history;
mod inspect;
mod list;
mod made;
mod remove;

pub use history::HistoryRow;
pub use list::ImageSummary;
pub use made::ImportOptions;
pub use remove::Removed;

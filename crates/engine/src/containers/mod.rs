//! Containers: made, started, listed, shown, removed.

mod attached;
mod commit;
mod create;
mod directories;
mod export;
mod files;
mod inspect;
mod list;
mod parse;
mod record;
mod remove;
mod settings;
mod start;

pub use attached::{Attached, Input};
pub use commit::CommitOptions;
pub use create::CreateOptions;
pub use list::Summary;
pub(crate) use record::short as short_id;
pub use record::{Container, ContainerState, MountPoint, Phase};
pub use settings::{HostSettings, Network, Settings};

//! Showing progress: from typed events to what a person reads. Nothing here decides anything.

mod live;
mod plain;

use std::io::IsTerminal;
use std::sync::Arc;

use kiln_progress::Sink;

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Progress {
    /// Live on a terminal, plain lines otherwise.
    #[default]
    Auto,
    /// Lines.
    Plain,
    /// Live.
    Tty,
    /// Nothing.
    Quiet,
    /// The events themselves, as JSON, one a line.
    Rawjson,
    /// Nothing, and no result at the end either.
    None,
}

impl Progress {
    /// As it is written on a command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Progress::Auto => "auto",
            Progress::Plain => "plain",
            Progress::Tty => "tty",
            Progress::Quiet => "quiet",
            Progress::Rawjson => "rawjson",
            Progress::None => "none",
        }
    }
}

/// A sink that shows what it gets on the standard error. Keep the display until the work is over, then
/// call [`Display::finish`].
pub(crate) struct Display {
    pub(crate) sink: Sink,
    live: Option<Arc<live::Live>>,
}

impl Display {
    /// A display in that style.
    pub(crate) fn new(progress: Progress) -> Self {
        let terminal = std::io::stderr().is_terminal();
        match progress {
            Progress::Quiet | Progress::None => Display { sink: Sink::none(), live: None },
            Progress::Rawjson => Display { sink: Sink::new(Arc::new(plain::raw_json)), live: None },
            Progress::Tty => Self::live(),
            Progress::Auto if terminal => Self::live(),
            Progress::Auto | Progress::Plain => Display { sink: Sink::new(Arc::new(plain::Plain::new())), live: None },
        }
    }

    fn live() -> Self {
        let live = Arc::new(live::Live::new());
        Display { sink: Sink::new(Arc::clone(&live) as Arc<dyn kiln_progress::Receiver>), live: Some(live) }
    }

    /// Leaves the terminal as the last state was.
    pub(crate) fn finish(self) {
        if let Some(live) = self.live {
            live.finish();
        }
    }
}

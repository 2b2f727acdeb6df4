//! The OCI distribution specification, version 1.1, demand by demand: each MUST and each SHOULD on a registry is a
//! test by name, against `kiln registry serve`, and against docker's registry to show that the tests are right.
//! `docs/registry-conformance.md` is written from the same list. Set `UPDATE_EXPECT=1` to write it anew.

mod discovery;
mod errors;
mod management;
mod manifests;
mod modes;
mod mounting;
mod oracle;
mod peer;
mod pull;
mod ranges;
mod referrers;
mod support;
mod table;
mod uploads;

use peer::Peer;

/// How much a registry is obliged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Must,
    Should,
    May,
    /// The specification leaves it open; kiln promises it.
    Kiln,
}

/// One demand and how it is checked.
pub(crate) struct Requirement {
    pub(crate) level: Level,
    pub(crate) test: &'static str,
    pub(crate) demand: &'static str,
    pub(crate) check: fn(&Peer),
}

/// The demands of one part of the specification: a table `LIST`, and a test of each against kiln's server.
macro_rules! requirements {
    ($(($level:ident, $test:ident, $demand:literal),)*) => {
        /// The demands of this part.
        pub(crate) const LIST: &[crate::Requirement] = &[$(crate::Requirement {
            level: crate::Level::$level,
            test: concat!(module_path!(), "::kiln::", stringify!($test)),
            demand: $demand,
            check: $test,
        }),*];

        mod kiln {
            $(#[test]
            fn $test() {
                super::$test(&crate::Peer::kiln());
            })*
        }
    };
}
pub(crate) use requirements;

/// The four workflows of the specification, and what holds in all.
pub(crate) const GROUPS: &[(&str, &[&[Requirement]])] = &[
    ("Determining support", &[support::LIST]),
    ("Pull", &[pull::LIST, ranges::LIST]),
    ("Push", &[uploads::LIST, mounting::LIST, manifests::LIST]),
    ("Content discovery", &[discovery::LIST, referrers::LIST]),
    ("Content management", &[management::LIST]),
    ("Errors", &[errors::LIST]),
];

//! Flags of the builder that docker had before BuildKit. BuildKit drops most of them without a word; here each is
//! refused with a reason, unless it asks for what happens anyway. `--squash` is done.

use crate::arguments;
use crate::failure::Failure;

/// The flags, hidden as docker hides them.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct LegacyArguments {
    #[arg(long, hide = true)]
    compress: bool,
    #[arg(long, hide = true)]
    cpu_period: Option<i64>,
    #[arg(long, hide = true)]
    cpu_quota: Option<i64>,
    #[arg(short = 'c', long, hide = true)]
    cpu_shares: Option<i64>,
    #[arg(long, hide = true)]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    cpuset_mems: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = arguments::go_bool)]
    disable_content_trust: Option<bool>,
    #[arg(long, hide = true)]
    force_rm: bool,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(short, long, hide = true)]
    memory: Option<String>,
    #[arg(long, hide = true)]
    memory_swap: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = arguments::go_bool)]
    rm: Option<bool>,
    #[arg(long, hide = true, value_delimiter = ',')]
    security_opt: Vec<String>,
    /// Make one layer of those that the build adds to its base image
    #[arg(long)]
    squash: bool,
}

const LIMITS: &str = "BuildKit ignores it; the limits of a RUN are --ulimit, --shm-size and --cgroup-parent, whose group \
                      may limit memory and processors";

impl LegacyArguments {
    /// Whether the layers of the build are to become one.
    pub(super) fn squash(&self) -> bool {
        self.squash
    }

    /// Refuses what would not be done.
    pub(super) fn refuse(&self) -> Result<(), Failure> {
        match self.refused() {
            Some((flag, reason)) => Err(Failure::new(format!("ERROR: --{flag} is not supported: {reason}"))),
            None => Ok(()),
        }
    }

    fn refused(&self) -> Option<(&'static str, &'static str)> {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let number = |number: Option<i64>| number.is_some_and(|number| number != 0);
        let isolation = self.isolation.as_deref().unwrap_or_default();
        let flags = [
            ("compress", self.compress, "a context is read where it lies and never sent"),
            ("cpu-period", number(self.cpu_period), LIMITS),
            ("cpu-quota", number(self.cpu_quota), LIMITS),
            ("cpu-shares", number(self.cpu_shares), LIMITS),
            ("cpuset-cpus", given(&self.cpuset_cpus), LIMITS),
            ("cpuset-mems", given(&self.cpuset_mems), LIMITS),
            (
                "disable-content-trust=false",
                self.disable_content_trust == Some(false),
                "Docker Content Trust was retired; name base images by digest instead",
            ),
            (
                "isolation",
                !matches!(isolation, "" | "default"),
                "it chooses among kinds of Windows containers, and kiln builds for Linux",
            ),
            ("memory", given(&self.memory), LIMITS),
            ("memory-swap", given(&self.memory_swap), LIMITS),
            ("rm=false", self.rm == Some(false), "steps leave no containers behind that could be kept"),
            (
                "security-opt",
                !self.security_opt.is_empty(),
                "it is the Dockerfile that asks, by RUN --security=insecure, and --allow security.insecure permits it",
            ),
        ];
        flags.into_iter().find(|(_, refused, _)| *refused).map(|(flag, _, reason)| (flag, reason))
    }
}

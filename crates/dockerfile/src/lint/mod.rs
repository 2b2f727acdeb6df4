//! Rules about Dockerfiles: BuildKit's build checks under their names, and a few hints of our own.
//!
//! [`check`] reads a Dockerfile and says what it found, however far a build of it would come. What a rule is
//! about is explained on its page (`docs/rules`). Rules are chosen by the `# check=` directive, by such a comment
//! above an instruction, and by the build argument [`CHECK_ARGUMENT`].
//!
//! ```
//! use kiln_dockerfile::lint::{LintOptions, check};
//! use kiln_dockerfile::{Bases, PlanOptions};
//! use kiln_oci::Platform;
//!
//! let plan = PlanOptions::new(Platform::new("linux", "amd64"));
//! let report = check("FROM scratch\nCMD sleep 1\n", &LintOptions::new(&plan, &Bases::new()));
//! assert_eq!(report.findings[0].rule.name(), "JSONArgsRecommended");
//! ```

mod checks;
mod collector;
mod from;
mod hints;
mod ignored;
mod lines;
mod ports;
mod resolve;
mod rule;
mod secret_name;
mod stage;
mod suggest;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::dockerfile::Dockerfile;
use crate::error::{Error, LowerProblem, ParseProblem};
use crate::frontend::check_frontend;
use crate::ignore::IgnoreMatcher;
use crate::options::{Base, Bases, PlanOptions};
use crate::plan::Plan;
use crate::reader;

pub use checks::{CHECK_ARGUMENT, Checks, ChecksError};
pub use collector::Finding;
pub use rule::{Group, Rule};

use collector::Collector;

/// What is asked of a Dockerfile.
#[derive(Clone, Copy, Debug)]
pub struct LintOptions<'a> {
    /// Build arguments, platforms, named contexts, the target. Without a target all stages are looked at.
    pub plan: &'a PlanOptions,
    /// The base images that are known.
    pub bases: &'a Bases,
    /// The base images that cannot be had, and why.
    pub unavailable: Option<&'a BTreeMap<Base, String>>,
    /// What the ignore file leaves out of the context, if there is one.
    pub ignored: Option<&'a IgnoreMatcher>,
    /// Whether only the stages that the target needs are looked at, as in a build, even if none is named.
    pub needed_only: bool,
    /// Whether our own rules run too.
    pub hints: bool,
}

impl<'a> LintOptions<'a> {
    /// BuildKit's rules, without an ignore file.
    pub fn new(plan: &'a PlanOptions, bases: &'a Bases) -> LintOptions<'a> {
        LintOptions { plan, bases, unavailable: None, ignored: None, needed_only: false, hints: false }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// By phase of a build, within a phase by place.
    pub findings: Vec<Finding>,
    /// What makes a build fail. All that the parser sees; of what comes after it only the first. Findings that are
    /// made errors by `error=true` are among them.
    pub errors: Vec<Error>,
    /// Base images that are neither known nor known to be unavailable. Until they are, no variable is called
    /// undefined in the stages on them.
    pub missing: Vec<Base>,
    /// Whether there is such a variable.
    pub unsure: bool,
    /// The names among those of rules to run or to skip that no rule has.
    pub unknown_rules: Vec<String>,
}

impl Report {
    /// The findings by line, as people read them, each once.
    pub fn by_line(&self) -> Vec<&Finding> {
        let mut sorted: Vec<&Finding> = self.findings.iter().collect();
        sorted.sort_by_key(|finding| finding.span.first_line);
        sorted.dedup();
        sorted
    }
}

/// The build argument that names the frontend, whatever the Dockerfile says.
const FRONTEND_ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// Looks at a whole Dockerfile. One for another frontend is not judged.
pub fn check(text: &str, options: &LintOptions<'_>) -> Report {
    let frontend = options.plan.build_args.get(FRONTEND_ARGUMENT).map(String::as_str);
    if let Err(error) = check_frontend(text, frontend) {
        return Report { errors: vec![error], ..Report::default() };
    }
    let checks = match checks(text, options.plan) {
        Ok(checks) => checks,
        Err(error) => {
            let error = Error::new(ParseProblem::Checks(error), None);
            return Report { errors: vec![error], ..Report::default() };
        }
    };
    let unknown_rules = checks.unknown_names().into_iter().map(str::to_owned).collect();
    let mut collector = Collector::new(text, checks, options.hints);
    let mut report = match phases(text, options, &mut collector) {
        Ok((missing, error)) => Report { missing, errors: error.into_iter().collect(), ..Report::default() },
        Err(errors) => Report { errors, ..Report::default() },
    };
    if let (true, Some(rules)) = (report.errors.is_empty(), collector.failing_rules()) {
        report.errors.push(Error::new(LowerProblem::Findings(rules.join(", ")), None));
    }
    report.unsure = collector.unsure;
    report.unknown_rules = unknown_rules;
    report.findings = collector.findings;
    report
}

fn checks(text: &str, plan: &PlanOptions) -> Result<Checks, ChecksError> {
    match plan.build_args.get(CHECK_ARGUMENT) {
        Some(given) => Checks::parse(given),
        None => Ok(Checks::of_dockerfile(text)?.unwrap_or_default()),
    }
}

/// The base images that a build would ask for, and what it would fail for after it knows which.
type Outcome = (Vec<Base>, Option<Error>);

/// The phases of a build, as far as it would come.
fn phases(text: &str, options: &LintOptions<'_>, collector: &mut Collector<'_>) -> Result<Outcome, Vec<Error>> {
    let one = |error: Error| vec![error];
    let lines = reader::read(text).map_err(one)?;
    lines::blank_lines(&lines.warnings, collector);
    let mut wrong = false;
    let mut watch = |node: &reader::Node, understood: bool| {
        if !wrong {
            lines::instruction(node, understood, collector);
        }
        wrong |= !understood;
    };
    let dockerfile = Dockerfile::from_lines(lines, &mut watch)?;
    if dockerfile.stages.is_empty() {
        return Err(one(Error::new(LowerProblem::NoStages, None)));
    }
    lines::stage_names(&dockerfile, collector);
    lines::case(&dockerfile, collector);
    let stages = from::check(&dockerfile, options.plan, collector).map_err(one)?;
    let plan = Plan { dockerfile, options: options.plan.clone(), stages };
    let resolved = resolve::resolve(&plan, options).map_err(one)?;
    resolve::platforms(options.bases, &resolved, collector);
    if resolved.error.is_some() {
        return Ok((resolved.missing, resolved.error));
    }
    let error = crate::lower::first_error(&plan, options.bases, &resolved.wanted);
    let walk = stage::Walk {
        plan: &plan,
        bases: options.bases,
        ignored: options.ignored,
        wanted: &resolved.wanted,
        error: error.as_ref(),
    };
    walk.run(collector);
    if options.hints {
        hints::check(&plan, &resolved.wanted, collector);
    }
    Ok((resolved.missing, error))
}

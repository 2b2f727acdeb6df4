//! The steps of a build, read from its plain progress.

use std::collections::BTreeMap;

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The instruction, blanks as single spaces, such as `RUN make`.
    pub name: String,
    /// Whether its result came from the cache.
    pub cached: bool,
}

/// Reads lines such as `#4 [build 2/3] RUN make`, `#4 CACHED` and `#4 DONE 0.1s`. Steps that load something are left out.
pub fn steps(progress: &str) -> Vec<Step> {
    let mut found: BTreeMap<u32, Step> = BTreeMap::new();
    for line in progress.lines() {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else { continue };
        let Ok(number) = number.parse() else { continue };
        if let Some(name) = instruction(rest) {
            found.entry(number).or_insert(Step { name, cached: false });
        } else if rest == "CACHED" {
            found.entry(number).and_modify(|step| step.cached = true);
        }
    }
    found.into_values().collect()
}

/// The steps that were really executed, without `FROM`.
pub fn executed(steps: &[Step]) -> Vec<&str> {
    let steps = steps.iter().filter(|step| !step.cached && !step.name.starts_with("FROM "));
    steps.map(|step| step.name.as_str()).collect()
}

/// The instruction of a line such as `[build 2/3] RUN make`.
fn instruction(text: &str) -> Option<String> {
    let (place, instruction) = text.strip_prefix('[')?.split_once("] ")?;
    let counted = place.rsplit(' ').next()?.contains('/');
    counted.then(|| instruction.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_hits() {
        let progress = "#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n\
            #2 [build 1/2] FROM busybox\n#2 CACHED\n#3 [build  2/2] RUN a \\\n#3 0.1 out\n#4 [2/2] COPY a b\n#4 CACHED\n";
        let steps = steps(progress);
        assert_eq!(executed(&steps), ["RUN a \\"]);
        assert_eq!(steps.len(), 3);
    }
}

//! The rules by name: what each is about, where it is explained, and whether it runs by itself.

use Group::{Check, Experiment, Hint, Opinion};

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // Rule::description says what each one means.
pub enum Rule {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JSONArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    InvalidBaseImagePlatform,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
    AddForPlainFiles,
    AptInstallWithoutUpdate,
    AptUpdateAlone,
    AptCacheNotLocked,
    ChangeDirectoryLost,
    DependenciesAfterSources,
    SecretFileCopied,
    UnpinnedBase,
}

/// When a rule runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// BuildKit's: unless it is skipped.
    Check,
    /// BuildKit's: when `experimental=` asks for it.
    Experiment,
    /// Ours: when hints are asked for.
    Hint,
    /// Ours, and a matter of taste: when hints are asked for and `experimental=` names it.
    Opinion,
}

struct Row {
    rule: Rule,
    name: &'static str,
    group: Group,
    description: &'static str,
}

const fn row(rule: Rule, name: &'static str, group: Group, description: &'static str) -> Row {
    Row { rule, name, group, description }
}

const TABLE: [Row; 30] = [
    row(Rule::StageNameCasing, "StageNameCasing", Check, "Names of stages are written in lower case"),
    row(Rule::FromAsCasing, "FromAsCasing", Check, "AS is written in the case of its FROM"),
    row(
        Rule::NoEmptyContinuation,
        "NoEmptyContinuation",
        Check,
        "An instruction that goes on has no blank line within",
    ),
    row(
        Rule::ConsistentInstructionCasing,
        "ConsistentInstructionCasing",
        Check,
        "All instructions are written in the same case",
    ),
    row(Rule::DuplicateStageName, "DuplicateStageName", Check, "Each stage has a name of its own"),
    row(Rule::ReservedStageName, "ReservedStageName", Check, "No stage has a name that means something else"),
    row(
        Rule::JSONArgsRecommended,
        "JSONArgsRecommended",
        Check,
        "CMD and ENTRYPOINT in the JSON form, so that the program itself receives signals",
    ),
    row(Rule::MaintainerDeprecated, "MaintainerDeprecated", Check, "A label names the author, not MAINTAINER"),
    row(Rule::UndefinedArgInFrom, "UndefinedArgInFrom", Check, "FROM uses only ARGs that are declared before it"),
    row(
        Rule::WorkdirRelativePath,
        "WorkdirRelativePath",
        Check,
        "The first WORKDIR is absolute, whatever the base image says",
    ),
    row(Rule::UndefinedVar, "UndefinedVar", Check, "Variables are defined before they are used"),
    row(
        Rule::MultipleInstructionsDisallowed,
        "MultipleInstructionsDisallowed",
        Check,
        "One CMD, one ENTRYPOINT and one HEALTHCHECK for each stage: only the last counts",
    ),
    row(Rule::LegacyKeyValueFormat, "LegacyKeyValueFormat", Check, "ENV and LABEL with an equals sign"),
    row(
        Rule::InvalidBaseImagePlatform,
        "InvalidBaseImagePlatform",
        Check,
        "The base image is for the platform that is asked for",
    ),
    row(
        Rule::RedundantTargetPlatform,
        "RedundantTargetPlatform",
        Check,
        "FROM takes the target platform without being told",
    ),
    row(
        Rule::SecretsUsedInArgOrEnv,
        "SecretsUsedInArgOrEnv",
        Check,
        "No secret in ARG or ENV, where the image shows it",
    ),
    row(
        Rule::InvalidDefaultArgInFrom,
        "InvalidDefaultArgInFrom",
        Check,
        "The defaults of the ARGs in FROM make a valid image name",
    ),
    row(
        Rule::FromPlatformFlagConstDisallowed,
        "FromPlatformFlagConstDisallowed",
        Check,
        "FROM --platform is left to who builds",
    ),
    row(
        Rule::CopyIgnoredFile,
        "CopyIgnoredFile",
        Check,
        "COPY and ADD name only files that the ignore file leaves in the context",
    ),
    row(
        Rule::InvalidDefinitionDescription,
        "InvalidDefinitionDescription",
        Experiment,
        "A comment above ARG or FROM begins with the name that it describes, or is set off by a blank line",
    ),
    row(Rule::ExposeProtoCasing, "ExposeProtoCasing", Check, "The protocol of EXPOSE is written in lower case"),
    row(
        Rule::ExposeInvalidFormat,
        "ExposeInvalidFormat",
        Check,
        "EXPOSE names ports of the container only, no address and no port of the host",
    ),
    row(Rule::AddForPlainFiles, "kiln/AddForPlainFiles", Hint, "COPY copies plain files; ADD does more than that"),
    row(
        Rule::AptInstallWithoutUpdate,
        "kiln/AptInstallWithoutUpdate",
        Hint,
        "apt-get install comes after apt-get update in the same RUN",
    ),
    row(
        Rule::AptUpdateAlone,
        "kiln/AptUpdateAlone",
        Hint,
        "apt-get update comes with an install in the same RUN, or its result grows old in the cache",
    ),
    row(
        Rule::AptCacheNotLocked,
        "kiln/AptCacheNotLocked",
        Hint,
        "A cache mount of apt's directories is locked, for apt cannot share them",
    ),
    row(
        Rule::ChangeDirectoryLost,
        "kiln/ChangeDirectoryLost",
        Hint,
        "WORKDIR changes the directory of later instructions; cd ends with its RUN",
    ),
    row(
        Rule::DependenciesAfterSources,
        "kiln/DependenciesAfterSources",
        Hint,
        "Dependencies are installed before all sources are copied, so that an edit does not install them again",
    ),
    row(
        Rule::SecretFileCopied,
        "kiln/SecretFileCopied",
        Hint,
        "Keys and passwords are mounted for one RUN, not copied into a layer",
    ),
    row(Rule::UnpinnedBase, "kiln/UnpinnedBase", Opinion, "The base image has a tag or digest that stays what it is"),
];

impl Rule {
    /// All of them, BuildKit's first.
    pub fn all() -> impl Iterator<Item = Rule> {
        TABLE.iter().map(|row| row.rule)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name; ours begin with `kiln/`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What it asks for, in a sentence.
    pub fn description(self) -> &'static str {
        self.row().description
    }

    /// When it runs.
    pub fn group(self) -> Group {
        self.row().group
    }

    /// Whether it is one of ours, which BuildKit does not know.
    pub fn is_ours(self) -> bool {
        matches!(self.group(), Hint | Opinion)
    }

    /// Its page in kiln's documentation, relative to the project.
    pub fn page(self) -> String {
        let name = self.name();
        format!("docs/rules/{}.md", name.strip_prefix("kiln/").unwrap_or(name))
    }

    /// Where it is explained: BuildKit's public page for a rule of BuildKit's, otherwise ours.
    pub fn url(self) -> String {
        if self.is_ours() || self == Rule::InvalidBaseImagePlatform {
            return self.page();
        }
        format!("https://docs.docker.com/go/dockerfile/rule/{}/", dashed(self.name()))
    }
}

/// `JSONArgsRecommended` as `json-args-recommended`.
fn dashed(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, &c) in chars.iter().enumerate() {
        let after_lower = index > 0 && chars[index - 1].is_lowercase();
        let before_lower = index > 0 && chars.get(index + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && (after_lower || before_lower) {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_rules() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.rule as usize, index, "{}", row.name);
            assert_eq!(row.name.trim_start_matches("kiln/"), format!("{:?}", row.rule));
        }
    }

    #[test]
    fn addresses() {
        let url = |rule: Rule| rule.url();
        assert_eq!(url(Rule::JSONArgsRecommended), "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/");
        assert_eq!(url(Rule::FromAsCasing), "https://docs.docker.com/go/dockerfile/rule/from-as-casing/");
        assert_eq!(
            url(Rule::SecretsUsedInArgOrEnv),
            "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"
        );
        assert_eq!(url(Rule::AptUpdateAlone), "docs/rules/AptUpdateAlone.md");
    }
}

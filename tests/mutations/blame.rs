//! Do the explanations of a build name what was changed, and nothing else?

use serde_json::Value;

/// What a change of a project touched.
#[derive(Debug, Clone)]
pub(crate) enum Blame {
    /// Nothing that counts.
    Nothing,
    /// These paths of the context.
    Files(Vec<String>),
    /// Which files are ignored.
    AnyFiles,
    /// The value of one of these variables.
    Variables(Vec<String>),
    /// Instructions, with what they set.
    Instructions { variables: Vec<String> },
    /// A base image.
    Base,
}

/// What only says that another step is another.
const CONSEQUENCES: [&str; 4] = ["step_changed", "step_added", "step_removed", "step_replaced"];

impl Blame {
    /// What is wrong with the explanations of a build after a change.
    pub(crate) fn wrong(&self, document: &Value) -> Vec<String> {
        let steps = document["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let missed: Vec<&Value> = steps.iter().filter(|step| step["result"] == "miss").collect();
        let mut wrong = Vec::new();
        let mut is_named = false;
        for step in &missed {
            let reasons = step["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
            if reasons.is_empty() {
                wrong.push(format!("no reason for {}", step["name"]));
            }
            for reason in reasons {
                let kind = reason["kind"].as_str().unwrap_or_default();
                // A step that another build ran on the changed input already is a hit, and is named by what it spoils.
                let named = reason["index"].as_u64().and_then(|index| steps.get(usize::try_from(index).ok()?));
                is_named |= self.is_named_by(kind, reason) || named.is_some_and(|step| step["result"] == "hit");
                if !CONSEQUENCES.contains(&kind) && !self.is_named_by(kind, reason) {
                    wrong.push(format!("{} is blamed on {reason}", step["name"]));
                }
            }
        }
        if !missed.is_empty() && !is_named {
            wrong.push(format!("nothing names {self:?}"));
        }
        wrong
    }

    fn is_named_by(&self, kind: &str, reason: &Value) -> bool {
        let is_file = ["file_added", "file_removed", "file_changed"].contains(&kind);
        let text = |member: &str| reason[member].as_str().unwrap_or_default();
        let is_variable = |names: &[String]| {
            let one = ["variable_added", "variable_removed", "variable_changed"].contains(&kind);
            // A variable within an instruction changes what the instruction says.
            let within = names.iter().any(|name| text("before").contains(name) || text("after").contains(name));
            (one && names.iter().any(|name| name == text("name")))
                || (kind == "instruction_changed" && within)
                || kind == "setting_changed"
        };
        match self {
            Blame::Nothing => false,
            Blame::Files(paths) => {
                let path = text("path").trim_matches('/');
                (is_file && paths.iter().any(|each| each == path)) || kind == "more_files"
            }
            Blame::AnyFiles => is_file || kind == "more_files",
            Blame::Variables(names) => is_variable(names),
            Blame::Instructions { variables } => {
                let kinds = ["instruction_changed", "setting_changed", "never_seen"];
                kinds.contains(&kind) || CONSEQUENCES.contains(&kind) || is_variable(variables)
            }
            Blame::Base => kind == "base_changed",
        }
    }
}

//! Containers as `ps` shows them.

use kiln_store::Timestamp;

use super::record::{Container, Phase};
use crate::{Engine, Error, age, moment};

/// One line of `ps`.
#[derive(Clone, Debug)]
pub struct Summary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name, without the slash.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// Program and arguments in one line.
    pub command: String,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// Where in its life.
    pub phase: Phase,
    /// `Up 2 seconds`, `Exited (2) 3 minutes ago`, `Created`.
    pub status: String,
    /// The whole container.
    pub container: Container,
}

impl Engine {
    /// Containers, newest first: those that run, or all.
    ///
    /// # Errors
    /// What the store says.
    pub fn list(&self, all: bool) -> Result<Vec<Summary>, Error> {
        let now = Timestamp::now().seconds;
        let containers = self.containers()?.into_iter();
        Ok(containers
            .filter(|container| all || container.state.phase == Phase::Running)
            .map(|container| summary(container, now))
            .collect())
    }
}

fn summary(container: Container, now: i64) -> Summary {
    Summary {
        id: container.id.clone(),
        name: container.name.clone(),
        image: container.settings.image.clone(),
        command: container.args().iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        created: container.row.created.seconds,
        phase: container.state.phase,
        status: status(&container, now),
        container,
    }
}

fn status(container: &Container, now: i64) -> String {
    let state = &container.state;
    let since = |at: &Option<String>| {
        let then = at.as_deref().and_then(moment::seconds).unwrap_or(now);
        age::words(u64::try_from(now - then).unwrap_or_default())
    };
    match state.phase {
        Phase::Created => "Created".into(),
        Phase::Running => format!("Up {}", since(&state.started_at)),
        Phase::Exited => format!("Exited ({}) {} ago", state.exit_code, since(&state.finished_at)),
    }
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("sleep"), "sleep");
        assert_eq!(quoted("exit 2"), "'exit 2'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}

//! Credential helpers: programs `docker-credential-NAME` that are given a registry on their standard input
//! and answer with JSON.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{CredentialsError, Secret};

/// How long a helper may take; it may ask a person.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// How much a helper may say, in bytes.
const ANSWER_LIMIT: u64 = 1 << 20;

/// What every helper says when it knows nothing about a registry.
const UNKNOWN: &str = "credentials not found in native keychain";

/// A helper's answer.
pub(super) struct Answer {
    pub(super) username: String,
    pub(super) secret: Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks the helper `name` about the registry `key`; `None` if it knows nothing about it.
pub(super) async fn get(name: &str, key: &str) -> Result<Option<Answer>, CredentialsError> {
    let helper = format!("docker-credential-{name}");
    let failed = |detail: String| CredentialsError::Helper { helper: helper.clone(), host: key.into(), detail };
    if name.contains('/') {
        return Err(failed("its name must not contain a slash".into()));
    }
    ask(Command::new(&helper), key).await.map_err(failed)
}

/// Runs the helper `program`; errors are for a person.
async fn ask(mut program: Command, key: &str) -> Result<Option<Answer>, String> {
    let child = program
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("cannot start it: {e}"))?;
    let output = tokio::time::timeout(TIME_LIMIT, converse(child, key))
        .await
        .map_err(|_| format!("no answer within {} s", TIME_LIMIT.as_secs()))?
        .map_err(|e| format!("cannot talk to it: {e}"))?;
    if !output.success {
        let said = if output.answer.trim().is_empty() { output.complaint.trim() } else { output.answer.trim() };
        if said.contains(UNKNOWN) {
            return Ok(None);
        }
        return Err(said.chars().take(300).collect());
    }
    let wire: Wire = serde_json::from_str(&output.answer).map_err(|_| "its answer is not the expected JSON")?;
    Ok(Some(Answer { username: wire.username, secret: Secret::new(wire.secret) }))
}

struct Output {
    success: bool,
    answer: String,
    complaint: String,
}

async fn converse(mut child: Child, key: &str) -> std::io::Result<Output> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let say = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        match stdin.write_all(format!("{key}\n").as_bytes()).await {
            // A helper may answer without reading.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    };
    let mut answer = String::new();
    let mut complaint = String::new();
    let hear = async {
        match stdout {
            Some(pipe) => pipe.take(ANSWER_LIMIT).read_to_string(&mut answer).await,
            None => Ok(0),
        }
    };
    let hear_complaint = async {
        match stderr {
            Some(pipe) => pipe.take(ANSWER_LIMIT).read_to_string(&mut complaint).await,
            None => Ok(0),
        }
    };
    tokio::try_join!(say, hear, hear_complaint)?;
    let status = child.wait().await?;
    Ok(Output { success: status.success(), answer, complaint })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn scripted(script: &str) -> Result<Option<Answer>, String> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg("helper");
        ask(shell, "https://index.docker.io/v1/").await
    }

    #[tokio::test]
    async fn a_helper_is_given_the_registry_and_answers_with_json() {
        let script = r#"read key; printf '{"ServerURL":"x","Username":"%s %s","Secret":"hunter2"}' "$1" "$key""#;
        let answer = scripted(script).await.unwrap().unwrap();
        assert_eq!(answer.username, "get https://index.docker.io/v1/");
        assert_eq!(answer.secret.expose(), "hunter2");
    }

    #[tokio::test]
    async fn a_helper_may_know_nothing() {
        let nothing = scripted("echo credentials not found in native keychain; exit 1").await;
        assert!(nothing.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_failing_helper_is_an_error() {
        let check = async |script: &str, want: &str| assert_eq!(scripted(script).await.err().unwrap(), want);
        check("echo locked >&2; exit 1", "locked").await;
        check("echo hunter2", "its answer is not the expected JSON").await;
        let missing = get("no-such-helper-anywhere", "a.example").await.err().unwrap().to_string();
        assert!(missing.contains("docker-credential-no-such-helper-anywhere") && missing.contains("a.example"));
        assert!(get("../evil", "a.example").await.is_err());
    }
}

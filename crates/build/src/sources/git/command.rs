//! Running git as if on a fresh machine: nothing of the user's or the system's configuration, no hooks, no prompts,
//! only transports that cannot run commands. Credentials go by environment, never by argument.

use std::ffi::OsStr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_sandbox::{Serve, Served};
use kiln_store::Store;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::super::attempts::Attempts;
use super::super::net::wait;
use super::super::{SourceError, Watch};
use crate::client::Client;
use crate::ssh::SshAgent;

/// How much git may say where its answer is read, in bytes.
const LONGEST_ANSWER: u64 = 64 << 20;
/// How much of its complaints is kept.
const LONGEST_COMPLAINT: usize = 2000;
/// Variables of the caller's that say how to reach the network.
const KEPT: [&str; 11] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// The SSH agent that repositories are asked with, as `--ssh default` names it.
const SSH_AGENT: &str = "default";
/// Settings of every run.
const SETTINGS: [(&str, &str); 14] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("credential.helper", ""),
    // A pack is taken whole or not at all; loose objects of a fetch that was killed could be half a commit.
    ("fetch.unpackLimit", "1"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "45"),
    ("advice.detachedHead", "false"),
    ("safe.directory", "*"),
];

/// git with everything that it may use.
pub(super) struct Git<'a> {
    watch: &'a Watch<'a>,
    /// An empty home.
    home: PathBuf,
    /// Transports, as `GIT_ALLOW_PROTOCOL` lists them.
    protocols: &'static str,
    settings: Vec<(String, String)>,
    /// What no message may show.
    hidden: Vec<String>,
    /// The caller's SSH agent, at a socket in the home.
    agent: Option<Served>,
}

impl<'a> Git<'a> {
    /// git for talking to `address`, authenticated by the build's secrets.
    pub(super) fn for_address(
        address: &str,
        client: &dyn Client,
        store: &Store,
        watch: &'a Watch<'a>,
    ) -> Result<Self, SourceError> {
        let mut git = Git::local(store, watch)?;
        if address.starts_with("file://") {
            return Ok(git);
        }
        git.protocols = "http:https:ssh:git";
        if let Some(site) = Site::of(address) {
            git.authenticate(&site, client)?;
        } else if !address.starts_with("git://") {
            git.agent = client.ssh_agent(SSH_AGENT).map(|agent| serve(&git.home, agent)).transpose()?;
        }
        Ok(git)
    }

    /// git for repositories of this machine only.
    pub(super) fn local(store: &Store, watch: &'a Watch<'a>) -> Result<Self, SourceError> {
        let (settings, hidden) = (Vec::new(), Vec::new());
        Ok(Git { watch, home: store.scratch()?, protocols: "file", settings, hidden, agent: None })
    }

    fn authenticate(&mut self, site: &Site<'_>, client: &dyn Client) -> Result<(), SourceError> {
        let secret = |name: &str| -> Result<Option<String>, SourceError> {
            for name in [format!("{name}.{}", site.host), name.to_owned()] {
                if let Some(secret) = client.secret(&name)? {
                    let text = String::from_utf8_lossy(&secret.0).trim_end().to_owned();
                    return Ok(Some(text).filter(|text| !text.is_empty()));
                }
            }
            Ok(None)
        };
        let header = match secret("GIT_AUTH_HEADER")? {
            Some(header) => Some(header),
            None => secret("GIT_AUTH_TOKEN")?
                .map(|token| format!("basic {}", STANDARD.encode(format!("x-access-token:{token}")))),
        };
        if let Some(header) = header {
            self.hidden.push(header.clone());
            self.settings.push((format!("http.{}/.extraheader", site.plain()), format!("Authorization: {header}")));
        }
        if let Some(user) = site.user {
            self.hidden.push(user.to_owned());
            let secret = format!("{}://{user}@{}/", site.scheme, site.host);
            self.settings.push((format!("url.{secret}.insteadOf"), format!("{}/", site.plain())));
        }
        Ok(())
    }

    /// Runs git in `directory`, and gives what it printed.
    pub(super) fn run(
        &self,
        action: &'static str,
        directory: &Path,
        args: &[&OsStr],
        variables: &[(&str, &OsStr)],
    ) -> Result<Vec<u8>, SourceError> {
        self.watch.check()?;
        let mut command = std::process::Command::new("git");
        command.args(args).current_dir(directory).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.environment()).envs(variables.iter().copied());
        kiln_runtime::child::dies_with_thread(&mut command);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        // The runtime is entered for the child's pipes.
        let (status, output, complaint) = wait(self.watch, async move {
            let mut child = command.spawn().map_err(|error| SourceError::GitMissing(error.to_string()))?;
            let (output, complaint) = (child.stdout.take(), child.stderr.take());
            let (output, complaint, status) = tokio::join!(whole(output), tail(complaint), child.wait());
            let failed = SourceError::local("running git");
            let status = status.map_err(failed)?;
            Ok::<_, SourceError>((status, output.map_err(SourceError::local("reading what git says"))?, complaint))
        })??;
        if status.success() {
            return Ok(output);
        }
        Err(SourceError::Git { action, output: self.shown(&complaint, status) })
    }

    /// The same for what needs the network, which is tried again when that may help.
    pub(super) fn ask_elsewhere(
        &self,
        action: &'static str,
        directory: &Path,
        args: &[&OsStr],
    ) -> Result<Vec<u8>, SourceError> {
        Attempts::new(self.watch).run(|| self.run(action, directory, args, &[]))
    }

    fn environment(&self) -> Vec<(String, std::ffi::OsString)> {
        let home = self.home.as_os_str();
        let mut variables: Vec<(String, std::ffi::OsString)> = vec![
            ("LC_ALL".into(), "C".into()),
            ("HOME".into(), home.into()),
            ("XDG_CONFIG_HOME".into(), home.into()),
            ("GIT_CONFIG_NOSYSTEM".into(), "1".into()),
            ("GIT_CONFIG_GLOBAL".into(), "/dev/null".into()),
            ("GIT_ATTR_NOSYSTEM".into(), "1".into()),
            ("GIT_TERMINAL_PROMPT".into(), "0".into()),
            ("GIT_ALLOW_PROTOCOL".into(), self.protocols.into()),
            ("GIT_SSH_VARIANT".into(), "ssh".into()),
            ("GIT_SSH_COMMAND".into(), self.ssh().into()),
        ];
        if self.agent.is_some() {
            variables.push(("SSH_AUTH_SOCK".into(), socket(&self.home).into()));
        }
        let own = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(own).collect();
        variables.push(("GIT_CONFIG_COUNT".into(), settings.len().to_string().into()));
        for (number, (key, value)) in settings.into_iter().enumerate() {
            variables.push((format!("GIT_CONFIG_KEY_{number}"), key.into()));
            variables.push((format!("GIT_CONFIG_VALUE_{number}"), value.into()));
        }
        variables
    }

    /// ssh without configuration and without keys on disk. Hosts that the caller knows must have the keys that they
    /// had; a new one is taken as it is.
    fn ssh(&self) -> String {
        let mut known = format!("{}/known_hosts", self.home.display());
        if let Some(home) = std::env::var_os("HOME").and_then(|home| home.into_string().ok())
            && !home.contains(|c: char| c.is_whitespace() || "'\"\\%$".contains(c))
        {
            known = format!("{known} {home}/.ssh/known_hosts");
        }
        let options = "-o BatchMode=yes -o IdentityFile=none -o StrictHostKeyChecking=accept-new";
        format!("ssh -F /dev/null {options} -o UserKnownHostsFile='{known}'")
    }

    /// What git said, without what may not be shown.
    fn shown(&self, complaint: &[u8], status: std::process::ExitStatus) -> String {
        let mut text = String::from_utf8_lossy(complaint).into_owned();
        for hidden in &self.hidden {
            text = text.replace(hidden.as_str(), "xxxxx");
        }
        let text = kiln_dockerfile::without_credentials(text.trim()).into_owned();
        let lines = text.lines().map(|line| line.trim_start_matches("fatal: ").trim_start_matches("error: "));
        let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        if text.is_empty() { status.to_string() } else { text }
    }
}

impl Drop for Git<'_> {
    fn drop(&mut self) {
        // What stays goes with the session.
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// The agent's socket while git runs.
fn serve(home: &Path, agent: Arc<dyn SshAgent>) -> Result<Served, SourceError> {
    let failed = SourceError::local("making a socket for the SSH agent");
    let served = UnixListener::bind(socket(home));
    let serve = Serve(Arc::new(move |connection| agent.serve(connection)));
    served.and_then(|listener| Served::start(listener, serve)).map_err(failed)
}

fn socket(home: &Path) -> PathBuf {
    home.join("agent")
}

/// The part of an HTTP address that credentials are for.
struct Site<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    host: &'a str,
}

impl<'a> Site<'a> {
    fn of(address: &'a str) -> Option<Self> {
        let (scheme, rest) = address.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        Some(match authority.rsplit_once('@') {
            Some((user, host)) => Site { scheme, user: Some(user), host },
            None => Site { scheme, user: None, host: authority },
        })
    }

    fn plain(&self) -> String {
        format!("{}://{}", self.scheme, self.host)
    }
}

/// An address as it may stand on a command line.
pub(super) fn argument(address: &str) -> String {
    let Some(Site { scheme, user: Some(user), host }) = Site::of(address) else { return address.to_owned() };
    let before = scheme.len() + "://".len() + user.len() + "@".len();
    format!("{scheme}://{host}{}", address.get(before + host.len()..).unwrap_or_default())
}

async fn whole(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(LONGEST_ANSWER + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > LONGEST_ANSWER {
        return Err(std::io::Error::other("the answer is too long"));
    }
    Ok(bytes)
}

/// The end of what comes; all of it is read.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let surplus = kept.len().saturating_sub(LONGEST_COMPLAINT);
        kept.drain(..surplus);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credential_is_an_argument() {
        assert_eq!(argument("https://u:p@h.x:1/a@b.git?c"), "https://h.x:1/a@b.git?c");
        assert_eq!(argument("https://h/r.git"), "https://h/r.git");
        assert_eq!(argument("ssh://git@h/r"), "ssh://git@h/r");
        assert_eq!(argument("git@h:r"), "git@h:r");
    }
}

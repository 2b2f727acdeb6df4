//! What a stage has become so far: root file system, variables, and the image's config.

use std::collections::BTreeMap;
use std::rc::Rc;

use kiln_graph::VertexId;
use kiln_oci::{ContainerConfig, HistoryEntry, ImageConfig, Platform};

use crate::environment::Environment;
use crate::options::PlanOptions;
use crate::path;

use super::history;

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A stage under construction.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The root file system; `None` while it is empty.
    pub(super) root: Option<VertexId>,
    /// ENV and ARG values.
    pub(super) environment: Environment,
    /// The working directory of processes, clean and absolute.
    pub(super) directory: String,
    /// ARG declarations in order, for the history.
    pub(super) arguments: Vec<(String, Option<String>)>,
    /// The config without its container part and its history.
    pub(super) image: ImageConfig,
    /// The history so far; shared with the stages built on this one.
    history: Vec<Rc<HistoryEntry>>,
    /// The container part of the config.
    pub(super) container: ContainerConfig,
    /// Whether CMD was given in this very stage.
    pub(super) command_given: bool,
    /// What is built for.
    pub(super) platform: Platform,
    /// What displays call the stage; empty when it is the only one.
    pub(super) label: String,
    /// How many steps displays count.
    pub(super) steps: usize,
    /// How many history entries came with the base image.
    pub(super) inherited_history: usize,
    step: usize,
}

impl State {
    /// A stage on nothing.
    pub(super) fn empty(platform: &Platform, label: &str) -> State {
        let image = ImageConfig {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            ..ImageConfig::default()
        };
        State {
            root: None,
            environment: Environment::default(),
            directory: "/".to_owned(),
            arguments: Vec::new(),
            image,
            history: Vec::new(),
            container: ContainerConfig::default(),
            command_given: false,
            platform: platform.clone(),
            label: label.to_owned(),
            steps: 0,
            inherited_history: 0,
            step: 0,
        }
    }

    /// A stage on another one.
    pub(super) fn on_stage(base: &State, label: &str) -> State {
        State { label: label.to_owned(), steps: 0, step: 0, command_given: false, ..base.clone() }
    }

    /// Takes over the config of a base image.
    pub(super) fn take_config(&mut self, config: &ImageConfig) {
        self.container = config.container();
        self.image = config.clone();
        self.history = std::mem::take(&mut self.image.history).into_iter().map(Rc::new).collect();
        self.inherited_history = self.history.len();
    }

    /// What happens before the first instruction. `bare` is a stage without an image below.
    pub(super) fn start(&mut self, bare: bool) {
        if bare {
            self.container.working_dir = "/".to_owned();
        }
        if !self.container.env.iter().any(|entry| entry.starts_with("PATH=")) {
            self.container.env.push(DEFAULT_PATH.to_owned());
        }
        for entry in &self.container.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.environment.set(name, value);
        }
        if !self.container.working_dir.is_empty() {
            self.directory = path::clean_absolute(&self.container.working_dir);
        }
        self.container.on_build.clear();
    }

    /// The shell form of a command as a command line.
    pub(super) fn with_shell(&self, line: &str) -> Vec<String> {
        let mut words = if self.container.shell.is_empty() {
            DEFAULT_SHELL.map(str::to_owned).to_vec()
        } else {
            self.container.shell.clone()
        };
        words.push(line.to_owned());
        words
    }

    /// Sets a variable of the image: in its place when it is there already.
    pub(super) fn set_image_variable(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let same = |known: &&mut String| known.split_once('=').map_or(known.as_str(), |(name, _)| name) == name;
        match self.container.env.iter_mut().find(same) {
            Some(known) => *known = entry,
            None => self.container.env.push(entry),
        }
    }

    /// Notes an instruction that makes no layer.
    pub(super) fn note(&mut self, text: String) {
        self.history.push(Rc::new(history::entry(text, true)));
    }

    /// Notes an instruction that makes a layer.
    pub(super) fn note_layer(&mut self, text: String) {
        self.history.push(Rc::new(history::entry(text, false)));
    }

    /// `[stage 2/5] `, counting one further.
    pub(super) fn prefix(&mut self, options: &PlanOptions) -> String {
        if self.steps == 0 {
            return String::new();
        }
        self.step += 1;
        let platform = if options.multi_platform { format!("{} ", self.platform) } else { String::new() };
        let label = if self.label.is_empty() { String::new() } else { format!("{} ", self.label) };
        let width = self.steps.to_string().len();
        format!("[{platform}{label}{:>width$}/{}] ", self.step, self.steps)
    }

    /// The finished config, with the labels of the command line.
    pub(super) fn into_config(mut self, labels: &BTreeMap<String, String>) -> ImageConfig {
        self.container.labels.extend(labels.iter().map(|(name, value)| (name.clone(), value.clone())));
        self.image.rootfs.diff_ids.clear();
        self.image.history = self.history.into_iter().map(Rc::unwrap_or_clone).collect();
        self.image.config = Some(self.container);
        self.image
    }
}

//! A parsed Dockerfile as text again: one line for each instruction, then its heredocs. What is printed parses to
//! what was printed; comments that mean nothing are gone.

use std::fmt;

use crate::dockerfile::{Dockerfile, Stage};
use crate::reader;
use crate::span::Span;
use crate::text;

impl Dockerfile {
    /// The same without what only says where and how it was written: places, spelling, remarks. Two texts mean
    /// the same to a build if these are equal.
    pub fn meaning(&self) -> Dockerfile {
        let mut meaning = self.clone();
        meaning.warnings.clear();
        for global in &mut meaning.global_arguments {
            global.span = Span::default();
            global.text.clear();
        }
        for stage in &mut meaning.stages {
            stage.span = Span::default();
            stage.text.clear();
            for located in &mut stage.instructions {
                located.span = Span::default();
                located.text.clear();
            }
        }
        meaning
    }
}

impl fmt::Display for Dockerfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directives = &self.directives;
        for (name, value) in [("syntax", &directives.syntax), ("check", &directives.check)] {
            if let Some(value) = value {
                writeln!(f, "# {name}={}", text::text_of(value.as_bytes()))?;
            }
        }
        let escape = directives.escape;
        if escape != '\\' {
            writeln!(f, "# escape={escape}")?;
        }
        for global in &self.global_arguments {
            line(f, &global.text, escape)?;
        }
        for stage in &self.stages {
            heading(f, stage, escape)?;
            for located in &stage.instructions {
                line(f, &located.text, escape)?;
                located.heredocs.iter().try_for_each(|heredoc| writeln!(f, "{}{}", heredoc.text, heredoc.name))?;
            }
        }
        Ok(())
    }
}

fn heading(f: &mut fmt::Formatter<'_>, stage: &Stage, escape: char) -> fmt::Result {
    if let (Some(name), Some(documentation)) = (&stage.name, &stage.documentation) {
        // The blank line keeps the comment from being read as a directive.
        writeln!(f, "\n# {name} {}", text::text_of(documentation.as_bytes()))?;
    }
    line(f, &stage.text, escape)
}

fn line(f: &mut fmt::Formatter<'_>, text: &str, escape: char) -> fmt::Result {
    // What looks like a continuation was one, to an end of the file.
    if reader::is_continued(text, escape) { writeln!(f, "{text}{escape}") } else { writeln!(f, "{text}") }
}

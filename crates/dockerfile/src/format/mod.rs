//! A Dockerfile in its usual form: keywords in upper case, instructions at the margin, what continues them
//! indented, no blanks at the ends of lines, one blank line where there were several. Only white space and case
//! change, and never what the file means: each instruction is parsed again, and what would mean something else
//! stays as it was written. Heredocs are not touched.

mod instruction;

use crate::dockerfile::Dockerfile;
use crate::error::Error;
use crate::frontend::detect_syntax;
use crate::reader::{self, Node};

/// Why a Dockerfile is not formatted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is wrong: all that was found, at least one.
    #[error("{}", .0.first().map(Error::to_string).unwrap_or_default())]
    Wrong(Vec<Error>),
    /// The formatted text would mean something else, which is a mistake of this crate.
    #[error("formatting would change what the file means; it is left as it is")]
    Meaning,
}

/// The file in its usual form. Formatting that again changes nothing.
///
/// # Errors
/// A file that is no Dockerfile, or whose form this crate cannot change without changing its meaning.
pub fn format(source: &str) -> Result<String, FormatError> {
    let before = Dockerfile::parse_all(source).map_err(FormatError::Wrong)?;
    let nodes = reader::read(source).map_err(|error| FormatError::Wrong(vec![error]))?.nodes;
    let text = Formatter::new(source, before.directives.escape).format(&nodes);
    let after = Dockerfile::parse_all(&text).map_err(|_| FormatError::Meaning)?;
    let image = |source: &str| detect_syntax(source).map(|syntax| syntax.image);
    if after.meaning() != before.meaning() || image(&text) != image(source) {
        return Err(FormatError::Meaning);
    }
    Ok(text)
}

struct Formatter<'a> {
    lines: Vec<&'a str>,
    escape: char,
    /// What ends a line; that of the first.
    line_end: &'static str,
    out: String,
    /// Whether a blank line is due before the next one.
    blank: bool,
}

impl<'a> Formatter<'a> {
    fn new(source: &'a str, escape: char) -> Formatter<'a> {
        let text = source.strip_prefix('\u{feff}').unwrap_or(source);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let line_end = if lines.first().is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" };
        let out = source[..source.len() - text.len()].to_owned();
        Formatter { lines, escape, line_end, out, blank: false }
    }

    fn format(mut self, nodes: &[Node]) -> String {
        let mut at = 0;
        for node in nodes {
            let (first, last) = (node.span.first_line as usize - 1, node.span.last_line as usize);
            self.between(at, first);
            let bodies: usize = node.heredocs.iter().map(|heredoc| heredoc.text.matches('\n').count() + 1).sum();
            let (lines, heredocs) = self.lines[first..last].split_at(last - first - bodies.min(last - first));
            let (lines, heredocs) = (lines.to_vec(), heredocs.to_vec());
            for line in instruction::format(node, &lines, &heredocs, self.escape) {
                self.line(&line);
            }
            heredocs.iter().for_each(|line| self.out.push_str(line));
            if !self.out.ends_with('\n') {
                self.out.push_str(self.line_end);
            }
            at = last;
        }
        self.between(at, self.lines.len());
        self.out
    }

    /// Comments and blank lines. Before the first instruction comments keep their place on the line, for they may
    /// be directives, or be none because of it.
    fn between(&mut self, from: usize, to: usize) {
        for index in from..to {
            let line = self.lines[index].trim_end();
            let at_the_top = from == 0;
            match line.trim_start() {
                "" => self.blank = at_the_top || !self.out.is_empty(),
                _ if at_the_top => self.line(line),
                comment => self.line(comment),
            }
        }
    }

    fn line(&mut self, line: &str) {
        if std::mem::take(&mut self.blank) {
            self.out.push_str(self.line_end);
        }
        self.out.push_str(line);
        self.out.push_str(self.line_end);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(source: &str, expected: Expect) {
        let formatted = format(source).unwrap();
        expected.assert_eq(&formatted);
        assert_eq!(format(&formatted).unwrap(), formatted);
    }

    #[test]
    fn case_and_white_space_change() {
        check(
            "# syntax=docker/dockerfile:1  \n\n\n\nfrom  a   as  b\t\n\n\n  # a comment  \n  env   A=1 \\\n\n  \t B=2 \\  \n# within\n      C=3  \n\thealthcheck  none\nexpose 80",
            expect![[r#"
                # syntax=docker/dockerfile:1

                FROM a AS b

                # a comment
                ENV A=1 \
                    B=2 \
                    # within
                    C=3
                HEALTHCHECK NONE
                EXPOSE 80
            "#]],
        );
    }

    #[test]
    fn what_a_shell_sees_stays() {
        check(
            "from a\nrun  echo 'a \\\n  b' &&\\\n\n      c  \nonbuild run x\nenv A=\"b\\\n   c\"\n",
            expect![[r#"
                FROM a
                RUN echo 'a \
                  b' &&\
                      c
                ONBUILD run x
                ENV A="b\
                   c"
            "#]],
        );
    }

    #[test]
    fn heredocs_are_not_touched() {
        check(
            "from a\nrun <<EOF  \n  x  \n\n\n\tfrom b\nEOF\ncopy <<-'E F' /x\n\ty  \n\tE F\n",
            expect![[r#"
                FROM a
                RUN <<EOF
                  x  


                	from b
                EOF
                COPY <<-'E F' /x
                	y  
                	E F
            "#]],
        );
    }

    #[test]
    fn line_ends_stay_and_directives_count() {
        assert_eq!(
            format("\u{feff}# escape=`\r\nfrom a `\r\n as b").unwrap(),
            "\u{feff}# escape=`\r\nFROM a `\r\n    AS b\r\n"
        );
        assert_eq!(format("\n\n# escape=`\nfrom a\n").unwrap(), "\n# escape=`\nFROM a\n");
        assert_eq!(format(" # syntax=x/y\nfrom a\n").unwrap(), " # syntax=x/y\nFROM a\n");
    }

    #[test]
    fn what_is_no_dockerfile_is_refused() {
        assert!(matches!(format("FROM a\nBOGUS\nENV x\n"), Err(FormatError::Wrong(errors)) if errors.len() == 2));
    }
}

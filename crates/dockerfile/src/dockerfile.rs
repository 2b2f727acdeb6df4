//! A whole Dockerfile: directives, global ARGs and stages.

use crate::directive::Directives;
use crate::error::{Error, InstructionProblem, Problem};
use crate::instruction::{Argument, Instruction, Located};
use crate::interpret;
use crate::reader::{self, Lines, Node, Warning};
use crate::span::Span;

/// A parsed Dockerfile.
#[derive(Clone, Debug, PartialEq)]
pub struct Dockerfile {
    /// What the comments at the top say.
    pub directives: Directives,
    /// The ARG instructions before the first FROM.
    pub global_arguments: Vec<GlobalArguments>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// Remarks about text that is accepted.
    pub warnings: Vec<Warning>,
}

/// An ARG instruction before the first FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalArguments {
    /// What it declares.
    pub arguments: Vec<Argument>,
    /// Where it stands.
    pub span: Span,
    /// The logical line as written.
    pub text: String,
}

/// FROM and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The base as written: an image, an earlier stage, `scratch`.
    pub base: String,
    /// The name after AS, in lower case.
    pub name: Option<String>,
    /// `--platform` as written.
    pub platform: Option<String>,
    /// The comment above FROM that starts with the stage's name.
    pub documentation: Option<String>,
    /// Where FROM stands.
    pub span: Span,
    /// FROM's logical line.
    pub text: String,
    /// What follows.
    pub instructions: Vec<Located>,
}

impl Dockerfile {
    /// Parses `text`; line ends may be LF or CRLF, a byte order mark is skipped. The text of a file, which may
    /// hold bytes that are not UTF-8, is made by [`crate::text_of`]: in comments such bytes do not matter, in
    /// heredocs that become files they come out as they were written, elsewhere they are an error.
    ///
    /// # Errors
    /// What is wrong, with its place: the first line that cannot be read, else the first wrong instruction.
    pub fn parse(text: &str) -> Result<Dockerfile, Error> {
        Dockerfile::parse_all(text).map_err(|mut errors| {
            let unreadable = |error: &Error| matches!(error.problem, Problem::Parse(_));
            errors.swap_remove(errors.iter().position(unreadable).unwrap_or(0))
        })
    }

    /// Parses `text` and goes on after a wrong instruction.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the text; at least one.
    pub fn parse_all(text: &str) -> Result<Dockerfile, Vec<Error>> {
        let lines = reader::read(text).map_err(|error| vec![error]);
        let parsed = lines.and_then(|lines| Dockerfile::from_lines(lines, &mut |_, _| {}));
        parsed.map_err(|mut errors| {
            errors.iter_mut().for_each(|error| error.find_focus(text));
            errors
        })
    }

    /// Understands lines that are read; `watch` is shown each with whether it was understood.
    pub(crate) fn from_lines(lines: Lines, watch: &mut dyn FnMut(&Node, bool)) -> Result<Dockerfile, Vec<Error>> {
        let mut dockerfile = Dockerfile {
            directives: lines.directives,
            global_arguments: Vec::new(),
            stages: Vec::new(),
            warnings: lines.warnings,
        };
        let mut errors = lines.errors;
        for node in &lines.nodes {
            let pushed = dockerfile.push(node);
            watch(node, pushed.is_ok());
            match pushed {
                // What follows a wrong FROM is not to blame.
                Err(error) if is_no_stage(&error) && !errors.is_empty() => {}
                Err(error) => errors.push(error),
                Ok(()) => {}
            }
        }
        errors.sort_by_key(Error::line);
        if errors.is_empty() { Ok(dockerfile) } else { Err(errors) }
    }

    fn push(&mut self, node: &Node) -> Result<(), Error> {
        if node.name.eq_ignore_ascii_case("from") {
            self.stages.push(stage(node)?);
            return Ok(());
        }
        let instruction = interpret::instruction(node)?;
        match (self.stages.last_mut(), instruction) {
            (Some(stage), instruction) => {
                stage.instructions.push(located(node, instruction, false));
            }
            (None, Instruction::Arg(arguments)) => {
                self.global_arguments.push(GlobalArguments {
                    arguments,
                    span: node.span.clone(),
                    text: node.text.clone(),
                });
            }
            (None, _) => return Err(Error::new(InstructionProblem::NoStage, Some(node.span.clone()))),
        }
        Ok(())
    }
}

/// Parses a single instruction, as ONBUILD keeps them in an image's config.
///
/// # Errors
/// What is wrong with it; line numbers count from its own first line.
pub fn parse_trigger(text: &str) -> Result<Located, Error> {
    let lines = reader::read(text)?;
    if let Some(error) = lines.errors.into_iter().next() {
        return Err(error);
    }
    match lines.nodes.as_slice() {
        [node] if node.name.eq_ignore_ascii_case("from") => {
            let problem = InstructionProblem::OnbuildTrigger("FROM".to_owned());
            Err(Error::new(problem, Some(node.span.clone())))
        }
        [node] => Ok(located(node, interpret::instruction(node)?, true)),
        _ => {
            let problem = InstructionProblem::Trigger(format!("an ONBUILD trigger must be one instruction: {text:?}"));
            Err(Error::new(problem, None))
        }
    }
}

pub(crate) fn located(node: &Node, instruction: Instruction, trigger: bool) -> Located {
    let (span, text, heredocs) = (node.span.clone(), node.text.clone(), node.heredocs.clone());
    Located { instruction, span, text, heredocs, trigger }
}

fn is_no_stage(error: &Error) -> bool {
    error.problem == Problem::Instruction(InstructionProblem::NoStage)
}

fn stage(node: &Node) -> Result<Stage, Error> {
    let from = interpret::from(node)?;
    let documentation = from.name.as_ref().and_then(|name| {
        let about = |comment: &String| comment.strip_prefix(name.as_str())?.strip_prefix(' ').map(str::to_owned);
        node.comments.iter().find_map(about)
    });
    Ok(Stage {
        base: from.base,
        name: from.name,
        platform: from.platform,
        documentation,
        span: node.span.clone(),
        text: node.text.clone(),
        instructions: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ParseProblem;
    use crate::text;

    fn messages(text: &str) -> Vec<String> {
        Dockerfile::parse_all(text).unwrap_err().iter().map(Error::to_string).collect()
    }

    #[test]
    fn all_wrong_instructions_are_reported() {
        assert_eq!(
            messages("FROM a\nFRM b\nCOPY --frm=x a b\nUSER\n"),
            [
                "dockerfile parse error on line 2: unknown instruction: FRM (did you mean FROM?)",
                "dockerfile parse error on line 3: unknown flag: --frm (did you mean from?)",
                "dockerfile parse error on line 4: USER requires exactly one argument",
            ]
        );
    }

    #[test]
    fn instructions_after_a_wrong_from_are_not_blamed() {
        assert_eq!(
            messages("FROM a b\nRUN x\n"),
            ["dockerfile parse error on line 1: FROM requires either one or three arguments"]
        );
    }

    #[test]
    fn unreadable_lines_do_not_hide_the_rest() {
        assert_eq!(
            messages("# escape=x\nFROM a\nENV a\nRUN [1]\nBOGUS\nLABEL x=1 y\nRUN <<EOF\n"),
            [
                "invalid escape token 'x' does not match ` or \\",
                "ENV must have two arguments",
                "when using JSON array syntax, arrays must be comprised of strings only",
                "dockerfile parse error on line 5: unknown instruction: BOGUS",
                "Syntax error - can't find = in \"y\". Must be of the form: name=value",
                "unterminated heredoc",
            ]
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_comes_first_when_one_error_is_asked_for() {
        let error = Dockerfile::parse("FROM a\nNOPE\nENV a\n").unwrap_err();
        assert_eq!(error.to_string(), "ENV must have two arguments");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced_in_what_is_only_told() {
        let told = b"FROM a\nLABEL by=\"Ren\xe9\"\nMAINTAINER Ren\xe9\nCMD [\"\xe9\"]\n";
        let dockerfile = Dockerfile::parse(&text::text_of(told)).unwrap();
        let texts: Vec<&str> = dockerfile.stages[0].instructions.iter().map(|located| located.text.as_str()).collect();
        assert_eq!(texts, ["LABEL by=\"Ren\u{fffd}\"", "MAINTAINER Ren\u{fffd}", "CMD [\"\u{fffd}\"]"]);
        let Instruction::Label(pairs) = &dockerfile.stages[0].instructions[0].instruction else { panic!() };
        assert_eq!(pairs[0].value, "\"Ren\u{fffd}\"");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_kept_in_files_and_refused_elsewhere() {
        let copied = b"# caf\xe9\nFROM a\nCOPY <<EOF /x\n\xe9\xff\nEOF\nRUN <<EOF\n#!/x\n\xe9\nEOF\n";
        let dockerfile = Dockerfile::parse(&text::text_of(copied)).unwrap();
        let heredocs = |at: usize| match &dockerfile.stages[0].instructions[at].instruction {
            Instruction::Copy(copy) => copy.heredocs[0].bytes(),
            Instruction::Run(run) => run.heredocs[0].bytes(),
            other => panic!("{other:?}"),
        };
        assert_eq!((heredocs(0), heredocs(1)), (b"\xe9\xff\n".to_vec(), b"#!/x\n\xe9\n".to_vec()));
        for wrong in [&b"FROM a\nRUN echo \xff\n"[..], b"FROM a\nRUN <<EOF\necho \xff\nEOF\n", b"FROM \xff\n"] {
            let error = Dockerfile::parse(&text::text_of(wrong)).unwrap_err();
            assert_eq!(error.problem, ParseProblem::NotUtf8.into(), "{wrong:?}");
        }
    }
}

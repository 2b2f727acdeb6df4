//! Annotated source for people: the lines of a span, what surrounds them, a caret under the very characters.
//! Knows neither terminals nor colours: the caller gives the strings that start and end emphasis.

use crate::error::Error;
use crate::span::Span;
use crate::text;

/// Lines shown before and after the marked ones.
const SURROUNDING: usize = 2;
/// Marked lines shown of a long instruction, such as one with a heredoc.
const MOST_MARKED: usize = 12;
/// Characters shown of a line.
const WIDEST: usize = 200;

/// Strings around what is to stand out, such as escape sequences. Empty by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Emphasis<'a> {
    /// Starts it.
    pub start: &'a str,
    /// Ends it.
    pub end: &'a str,
}

/// The message of an error, with the source it is about when it has a place. Ends without a newline.
pub fn render_error(file_name: &str, source: &str, error: &Error, emphasis: Emphasis<'_>) -> String {
    let error = error.clone().with_focus(source);
    match &error.span {
        Some(span) if span.first_line > 0 => {
            format!("{}{error}", render_span(file_name, source, span, emphasis))
        }
        _ => error.to_string(),
    }
}

/// The source around a span, each line with its number, marked lines with `>>>`. Ends with a newline.
pub fn render_span(file_name: &str, source: &str, span: &Span, emphasis: Emphasis<'_>) -> String {
    let lines: Vec<&str> = source.strip_prefix('\u{feff}').unwrap_or(source).lines().collect();
    let first = (span.first_line as usize).clamp(1, lines.len().max(1));
    let last = (span.last_line as usize).clamp(first, lines.len().max(first));
    let last_shown = last.min(first + MOST_MARKED - 1);
    let from = first.saturating_sub(SURROUNDING).max(1);
    let to = if last_shown < last { last_shown } else { (last + SURROUNDING).min(lines.len()) };
    let width = to.to_string().len().max(2);
    let rule = "-".repeat(20);
    let mut out = format!("{file_name}:{}\n{rule}\n", span.first_line);
    for number in from..=to {
        let Some(line) = lines.get(number - 1) else { break };
        let text = printable(line);
        if (first..=last).contains(&number) {
            out.push_str(&format!("{number:>width$} | {}>>> {text}{}\n", emphasis.start, emphasis.end));
        } else {
            out.push_str(format!("{number:>width$} |     {text}").trim_end());
            out.push('\n');
        }
        if let Some(focus) = span.focus.as_ref().filter(|focus| focus.line as usize == number) {
            let before = " ".repeat(focus.columns.start as usize);
            let carets = "^".repeat(focus.columns.len().max(1));
            if focus.columns.end as usize <= WIDEST {
                out.push_str(&format!("{:>width$} |     {before}{}{carets}{}\n", "", emphasis.start, emphasis.end));
            }
        }
    }
    if last_shown < last {
        out.push_str(&format!("{:>width$} | … {} more lines\n", "", last - last_shown));
    }
    out.push_str(&rule);
    out.push('\n');
    out
}

/// A line that cannot move the cursor: tabs are single blanks, other control characters are dots.
fn printable(line: &str) -> String {
    let mut text: String = line
        .chars()
        .take(WIDEST)
        .map(|c| match c {
            '\t' => ' ',
            c if text::is_byte(c) => '\u{fffd}',
            c if c.is_control() => '·',
            c => c,
        })
        .collect();
    if line.chars().nth(WIDEST).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::Dockerfile;

    fn check(source: &str, expected: Expect) {
        let error = Dockerfile::parse(source).unwrap_err();
        expected.assert_eq(&render_error("Dockerfile", source, &error, Emphasis::default()));
    }

    #[test]
    fn an_unknown_instruction_is_underlined() {
        check(
            "FROM busybox\n\n  FRM x\nRUN true\n",
            expect![[r#"
                Dockerfile:3
                --------------------
                 1 |     FROM busybox
                 2 |
                 3 | >>>   FRM x
                   |       ^^^
                 4 |     RUN true
                --------------------
                dockerfile parse error on line 3: unknown instruction: FRM (did you mean FROM?)"#]],
        );
    }

    #[test]
    fn a_flag_on_a_continued_line_is_found() {
        check(
            "FROM busybox\nCOPY --link \\\n  --frm=x a b\n",
            expect![[r#"
                Dockerfile:2
                --------------------
                 1 |     FROM busybox
                 2 | >>> COPY --link \
                 3 | >>>   --frm=x a b
                   |       ^^^^^^^
                --------------------
                dockerfile parse error on line 2: unknown flag: --frm (did you mean from?)"#]],
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        check(
            "FROM a b\u{1b}[31m\n",
            expect![[r#"
                Dockerfile:1
                --------------------
                 1 | >>> FROM a b·[31m
                   |     ^^^^
                --------------------
                dockerfile parse error on line 1: FROM requires either one or three arguments"#]],
        );
    }

    #[test]
    fn a_long_heredoc_is_shortened() {
        let source = format!("FROM a\nRUN <<EOF\n{}", "x\n".repeat(20));
        check(
            &source,
            expect![[r#"
                Dockerfile:2
                --------------------
                 1 |     FROM a
                 2 | >>> RUN <<EOF
                   |           ^^^
                 3 | >>> x
                 4 | >>> x
                 5 | >>> x
                 6 | >>> x
                 7 | >>> x
                 8 | >>> x
                 9 | >>> x
                10 | >>> x
                11 | >>> x
                12 | >>> x
                13 | >>> x
                   | … 9 more lines
                --------------------
                unterminated heredoc"#]],
        );
    }
}

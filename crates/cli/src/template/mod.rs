//! Go templates over JSON, as far as people use them in `--format`: fields, variables, pipelines, `if`, `range`,
//! `with`, and the functions of Go and of docker. Definitions of further templates are not known.
//!
//! JSON does not say what Go's types do: whether an object is a map (a missing key is `<no value>`) or a struct (a
//! missing field is an error), and what an absent list looks like. `shapes` knows it by docker's names.

mod error;
mod evaluate;
mod functions;
mod lexer;
mod parser;
mod print;
mod shapes;
mod syntax;

pub(crate) use error::{ExecuteError, ParseError};
pub(crate) use print::quoted;

use serde_json::Value;

use crate::failure::Failure;

/// A template that was parsed.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<syntax::Node>,
}

/// An execution that failed, after some text was made.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The text before the failure.
    pub(crate) written: String,
    /// What failed.
    pub(crate) error: ExecuteError,
}

impl Template {
    /// Parses the text of a template.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Template { nodes: parser::parse(lexer::tokens(text)?)? })
    }

    /// The text that the template makes of `data`.
    pub(crate) fn execute(&self, data: &Value) -> Result<String, Failed> {
        evaluate::execute(&self.nodes, data, functions::Mode::Values)
    }

    /// The same for the headings of a table: functions that change texts leave headings as they are.
    pub(crate) fn execute_headings(&self, headings: &Value) -> Result<String, Failed> {
        evaluate::execute(&self.nodes, headings, functions::Mode::Headings)
    }
}

/// The template that a `--format` flag means: `json` is everything as JSON.
pub(crate) fn of_flag(text: &str) -> Result<Template, Failure> {
    let text = if text == "json" { "{{json .}}" } else { text };
    Template::parse(text).map_err(|error| Failure::new(format!("template parsing error: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn data() -> Value {
        json!({
            "Name": "/web", "Count": 3, "Zero": 0, "On": true, "Text": "a <b> & c",
            "Config": {
                "Cmd": ["sh", "-c", "x y"], "Env": null, "Entrypoint": null,
                "Labels": { "b": "2", "a": "1" }, "Volumes": null,
            },
            "State": { "Status": "running", "ExitCode": 2 },
            "PortBindings": { "80/tcp": [{ "HostIp": "", "HostPort": "18085" }] },
        })
    }

    #[track_caller]
    fn check(text: &str, want: &str) {
        let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match template.execute(&data()) {
            Ok(made) => assert_eq!(made, want, "{text}"),
            Err(failed) => panic!("{text}: {}", failed.error),
        }
    }

    #[track_caller]
    fn fails(text: &str, want: &str) {
        match Template::parse(text) {
            Err(error) => assert_eq!(error.to_string(), want, "{text}"),
            Ok(template) => match template.execute(&data()) {
                Ok(made) => panic!("{text} made {made:?}"),
                Err(failed) => assert_eq!(failed.error.to_string(), want, "{text}"),
            },
        }
    }

    #[test]
    fn fields_and_text() {
        check("", "");
        check("plain } text", "plain } text");
        check("{{.Name}} {{.State.Status}}", "/web running");
        check("{{ .Count }}{{.On}}", "3true");
        check("{{.Config.Labels.a}}", "1");
        check("{{$.Name}}{{$x := .Count}}{{$x}}", "/web3");
        check("{{(.Config).Labels.b}}", "2");
    }

    #[test]
    fn values_print_as_go_prints_them() {
        check("{{.Config.Cmd}}", "[sh -c x y]");
        check("{{.Config.Labels}}", "map[a:1 b:2]");
        check("{{.Config.Env}}{{.Config.Volumes}}", "[]map[]");
        check("{{.State}}", "{running 2}");
        check("{{.Config.Labels.nosuch}}", "<no value>");
    }

    #[test]
    fn json_is_compact_and_unescaped() {
        check("{{json .Config.Cmd}}", r#"["sh","-c","x y"]"#);
        check("{{json .Text}}{{json .Config.Env}}", r#""a <b> & c"null"#);
        check("{{.Config.Cmd | json}}", r#"["sh","-c","x y"]"#);
    }

    #[test]
    fn control() {
        check("{{if .On}}yes{{else}}no{{end}}", "yes");
        check("{{if .Zero}}yes{{else if eq .Count 3}}three{{else}}no{{end}}", "three");
        check("{{if not .Config.Env}}none{{end}}", "none");
        check("{{range .Config.Cmd}}<{{.}}>{{end}}", "<sh><-c><x y>");
        check("{{range $i, $w := .Config.Cmd}}{{if $i}},{{end}}{{$w}}{{end}}", "sh,-c,x y");
        check("{{range .Config.Env}}x{{else}}empty{{end}}", "empty");
        check("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;");
        check("{{range $p, $c := .PortBindings}}{{$p}}={{(index $c 0).HostPort}}{{end}}", "80/tcp=18085");
        check("{{with .State}}{{.ExitCode}}{{end}}{{with .Config.Env}}x{{else}}-{{end}}", "2-");
        check("{{range .Config.Cmd}}{{if eq . \"-c\"}}{{break}}{{end}}{{.}}{{end}}", "sh");
        check("{{range .Config.Cmd}}{{if eq . \"-c\"}}{{continue}}{{end}}{{.}} {{end}}", "sh x y ");
        check("{{$n := 1}}{{if .On}}{{$n = 2}}{{end}}{{$n}}", "2");
    }

    #[test]
    fn functions() {
        check("{{upper .State.Status}} {{lower \"ABC\"}} {{title \"abc\"}}", "RUNNING abc Abc");
        check("{{join .Config.Cmd \",\"}} {{index .Config.Cmd 1}} {{len .Config.Cmd}}", "sh,-c,x y -c 3");
        check("{{index .Config.Labels \"a\"}}{{index .Config.Labels \"nosuch\"}}", "1");
        check("{{split \"a,b\" \",\"}} {{pad .Name 1 2}}| {{truncate .Name 3}}", "[a b]  /web  | /we");
        check(
            "{{printf \"%s %d %q %5d|%-5s|%v%%\" .Name .Count .Name 7 \"x\" .On}}",
            "/web 3 \"/web\"     7|x    |true%",
        );
        check("{{println .Count \"a\"}}{{print 1 2 \"a\"}}", "3 a\n1 2a");
        check("{{and .On .Count}} {{or .Zero \"x\"}} {{ne 1 2}} {{lt 1 2}} {{ge \"b\" \"a\"}}", "3 x true true true");
        check("{{slice .Name 1 3}} {{html \"<\"}} {{.Name | printf \"%s-%s\" \"a\"}}", "we &lt; a-/web");
        check("{{.Count | eq 3}} {{eq .Count 1 2 3}}", "true true");
    }

    #[test]
    fn blanks_are_trimmed_where_asked() {
        check("a {{- /* note */ -}} b", "ab");
        check("a  {{- 1 -}}  b {{/* note */}}c", "a1b c");
        check("{{`raw \\n`}}{{\"\\t\"}}{{'a'}}", "raw \\n\t97");
    }

    #[test]
    fn headings_pass_through_functions() {
        let template = Template::parse("{{json .ID}} {{upper .Names}} {{join .X \",\"}}").unwrap();
        let headings = json!({ "ID": "CONTAINER ID", "Names": "Names", "X": "x" });
        assert_eq!(template.execute_headings(&headings).unwrap(), "CONTAINER ID Names x");
    }

    #[test]
    fn errors_read_as_go_s() {
        fails("{{.Bad", "template: :1: unclosed action");
        fails("a\n{{nosuch 1}}", "template: :2: function \"nosuch\" not defined");
        fails("{{if .On}}x", "template: :1: unexpected EOF");
        fails("{{end}}", "template: :1: unexpected {{end}}");
        fails("{{}}", "template: :1: missing value for command");
        fails("{{$x}}", "template: :1: undefined variable \"$x\"");
        fails("{{\"a}}", "template: :1: unterminated quoted string");
        fails(
            "{{.NoSuchField}}",
            "template: :1:2: executing \"\" at <.NoSuchField>: map has no entry for key \"NoSuchField\"",
        );
        fails(
            "x\n{{json .State.Nope}}",
            "template: :2:13: executing \"\" at <.State.Nope>: map has no entry for key \"Nope\"",
        );
        fails(
            "{{index .Config.Cmd 7}}",
            "template: :1:2: executing \"\" at <index .Config.Cmd 7>: error calling index: index out of range: 7",
        );
        fails(
            "{{.Name.First}}",
            "template: :1:7: executing \"\" at <.Name.First>: can't evaluate field First in type string",
        );
        fails("{{range .Count}}{{end}}", "template: :1:8: executing \"\" at <.Count>: range can't iterate over 3");
    }

    #[test]
    fn what_was_made_before_a_failure_is_kept() {
        let failed = Template::parse("ab{{.Nope}}").unwrap().execute(&data()).unwrap_err();
        assert_eq!(failed.written, "ab");
    }
}

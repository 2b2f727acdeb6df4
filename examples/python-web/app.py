"""A guest book: one page that greets whoever asks for it."""
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import unquote
from wsgiref.simple_server import make_server

PAGE = Template((Path(__file__).parent / "templates" / "page.html").read_text())


def page(path):
    """The page for a path: /NAME greets NAME."""
    name = unquote(path.strip("/")) or "stranger"
    return PAGE.substitute(name=escape(name))


def application(environ, start_response):
    body = page(environ["PATH_INFO"]).encode()
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    with make_server("", 8000, application) as server:
        print("listening on port 8000")
        server.serve_forever()

"""Markdown as HTML in which nothing lives: HTML in it becomes text, and an equation is shown as it was written.

As a program it reads a list of texts from its input, as JSON, and writes the list of what they become. Its argument is
the most seconds of processor time that it may take.
"""

import html
import json
import sys

import mistune

markdown = mistune.create_markdown(escape=True, plugins=["table", "math"])
markdown.renderer.register("inline_math", lambda _, tex: f"<code>${html.escape(tex)}$</code>")        # no MathJax here
markdown.renderer.register("block_math", lambda _, tex: f"<pre>$${html.escape(tex)}$$</pre>")

if __name__ == "__main__":
    try:
        import resource
        resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]),) * 2)
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    except ImportError:                              # Windows
        pass
    sys.stdout.write(json.dumps([markdown(text) for text in json.load(sys.stdin)]))

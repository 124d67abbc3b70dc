"""A browser for rehearsals: opens an authorize address, logs in, presses Allow.

    python3 browser.py ADDRESS USER PASSWORD [--stop]

Walks the forms of the pages as a person would. The redirect at the end is followed to whoever
listens there, and what his page says is printed; with --stop the address is printed instead, as
it would stand in the browser's address bar.
"""

import html.parser
import sys
import urllib.error
import urllib.parse
import urllib.request


class Page(html.parser.HTMLParser):
    """The first form of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.action, self.fields, self.buttons, self.words = None, {}, [], []
        self.silent = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        name, value = attrs.get("name"), attrs.get("value", "")
        if tag == "form" and self.action is None:
            self.action = attrs.get("action", "")
        elif tag == "input" and name:
            self.fields[name] = (attrs.get("type", "text"), value)
        elif tag == "button" and name:
            self.buttons.append((name, value))
        self.silent = tag in ("style", "script", "title")

    def handle_data(self, data):
        if not self.silent and data.strip():
            self.words.append(data.strip())


class Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are looked at before they are followed."""

    def redirect_request(self, *_):
        return None


def fetch(address, form=None):
    """The answer's text, or where it leads."""
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
    try:
        with opener.open(address, data, timeout=30) as answer:
            return answer.read(1_000_000).decode("utf-8", "replace"), None
    except urllib.error.HTTPError as answer:
        text = answer.read(1_000_000).decode("utf-8", "replace")
        return text, answer.headers.get("Location")


def main():
    address, user, password = sys.argv[1:4]
    stop = "--stop" in sys.argv[4:]
    site = urllib.parse.urlsplit(address).netloc
    text, leads = fetch(address)
    for _ in range(10):
        if leads:
            address = urllib.parse.urljoin(address, leads)
            if urllib.parse.urlsplit(address).netloc != site:
                if stop:
                    print(address)
                    return
                site = urllib.parse.urlsplit(address).netloc
            text, leads = fetch(address)
            continue
        page = Page(text)
        if page.action is None:
            print("  browser: " + " ".join(page.words))
            return
        form = {}
        for name, (kind, value) in page.fields.items():
            form[name] = {"password": password, "text": user}.get(kind, value)
        if page.buttons:
            form.update(page.buttons[:1])  # Allow stands before Deny
        address = urllib.parse.urljoin(address, page.action)
        text, leads = fetch(address, form)
    sys.exit(f"browser: still at {address} after ten pages")


main()

"""A mail server for rehearsals: takes every mail that comes to 127.0.0.1 and lays it in a folder.

    python3 mail_catcher.py catch FOLDER     prints its port on the first line, then serves
    python3 mail_catcher.py show FILE        prints a mail as a person would read it

Needs nothing but Python itself. Mails are numbered as they come: 001.eml, 002.eml, ...
"""

import email
import email.policy
import os
import socketserver
import sys

LARGEST = 1_000_000


class Session(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs to hand a mail in."""

    timeout = 60

    def answer(self, line):
        self.wfile.write(line.encode("ascii") + b"\r\n")

    def handle(self):
        self.answer("220 demo ESMTP")
        while line := self.rfile.readline(4096):
            verb = line[:4].upper()
            if verb in (b"EHLO", b"HELO"):
                self.answer("250-demo\r\n250 8BITMIME" if verb == b"EHLO" else "250 demo")
            elif verb == b"DATA":
                self.answer("354 go ahead")
                self.answer("250 taken" if self.take() else "552 too large")
            elif verb == b"QUIT":
                self.answer("221 bye")
                return
            elif verb in (b"MAIL", b"RCPT", b"RSET", b"NOOP"):
                self.answer("250 ok")
            else:
                self.answer("502 not here")

    def take(self):
        lines, size = [], 0
        while (line := self.rfile.readline(LARGEST)) not in (b".\r\n", b".\n", b""):
            size += len(line)
            if size <= LARGEST:
                lines.append(line[1:] if line.startswith(b".") else line)
        if size > LARGEST:
            return False
        self.server.keep(b"".join(lines))
        return True


class Catcher(socketserver.TCPServer):
    """One client at a time: the number of a mail is the order of its coming."""

    allow_reuse_address = True
    folder = ""
    count = 0

    def keep(self, mail):
        self.count += 1
        path = os.path.join(self.folder, f"{self.count:03}.eml")
        with open(path + ".part", "wb") as file:
            file.write(mail)
        os.rename(path + ".part", path)


def show(path):
    with open(path, "rb") as file:
        mail = email.message_from_binary_file(file, policy=email.policy.default)
    for name in ("From", "To", "Date", "Subject", "Message-ID"):
        print(f"  | {name}: {mail[name]}")
    print("  |")
    body = mail.get_body(("plain",))
    for line in (body.get_content() if body else "").rstrip().splitlines():
        print(f"  | {line}".rstrip())


def main():
    what, place = sys.argv[1:3]
    if what == "show":
        show(place)
        return
    Catcher.folder = place
    with Catcher(("127.0.0.1", 0), Session) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


main()

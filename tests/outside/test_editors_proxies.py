"""The editor's own socket through nginx and Caddy: `wss://` typed as the server's address."""

from PyQt6.QtNetwork import QSslCertificate, QSslConfiguration

import story
from bench import Bench
from editor import Editor
from proxies import Proxy, through_each
from story import expect, until


def trust(proxy):
    """What an administrator does for a self-made certificate: the machine trusts it from now on."""
    configuration = QSslConfiguration.defaultConfiguration()
    configuration.addCaCertificates(QSslCertificate.fromPath(str(proxy.certificate)))
    QSslConfiguration.setDefaultConfiguration(configuration)


@through_each("an editor shares its canvas through it with one that comes directly")
def canvas(stage, kind):
    bench = Bench(stage)
    directly = bench.server
    # A name that Qt can look up.
    bench.server = Proxy(stage, kind, directly, name="localhost")
    trust(bench.server)
    host = bench.host("ada", items=20)
    bench.server = directly
    guest = bench.guest("bob")
    expect(len(guest.ids) == 20, f"the host's items at the guest: {len(guest.ids)}")
    for editor, other in ((host, guest), (guest, host)):
        first = editor.ids[0]
        editor.place(first, 1.5, 2.5, 30)
        until(lambda: other[first]["x_mm"] == 1.5, f"{editor.user}'s move at {other.user}")
        editor.remove(first)
        until(lambda: first not in other, f"{editor.user}'s removal at {other.user}")
    bench.all_equal()


@through_each("an editor that doesn't trust the certificate doesn't come in, and says so")
def stranger(stage, kind):
    bench = Bench(stage)
    proxy = Proxy(stage, kind, bench.server, name="localhost")
    editor = stage.own(Editor("eve", "client"))
    editor.connect(proxy, "room")
    until(lambda: editor.refusal, "an error of the editor's")
    expect("certificate" in editor.refusal, f"what the user reads: {editor.refusal}")


if __name__ == "__main__":
    story.main()

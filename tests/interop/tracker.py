"""An HTTP tracker (BEP 3, 23) that answers every announce with one peer. Most stock clients can't
be told a peer directly.
"""

import http.server
import ipaddress
import threading
import urllib.parse


class Tracker:
    """Runs from construction to close(). `peer` is (address, port); it is the answer for every
    torrent, by BEP 7 if its address is one of IPv6.
    """

    def __init__(self, address, peer):
        address_of_peer = ipaddress.ip_address(peer[0])
        compact = address_of_peer.packed + peer[1].to_bytes(2, "big")
        compact = b"%d:%s" % (len(compact), compact)
        if address_of_peer.version == 6:
            compact = b"0:6:peers6" + compact
        plain = f"d2:ip{len(peer[0])}:{peer[0]}4:porti{peer[1]}ee".encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                # rtorrent, aria2 and others ask for the compact form; who doesn't, gets
                # dictionaries.
                peers = (
                    compact
                    if query.get("compact", ["1"])[0] == "1"
                    else b"l" + plain + b"e"
                )
                body = (
                    b"d8:completei1e10:incompletei0e8:intervali30e12:min intervali5e5:peers"
                    + peers
                    + b"e"
                )
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{address}:{self._server.server_address[1]}/announce"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

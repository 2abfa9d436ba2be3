#!/usr/bin/python3
"""libtorrent as a seed or as a client, in a process of its own. Talks in JSON lines on stdout;
SIGTERM ends it.
"""

import argparse
import json
import signal
import sys

import libtorrent as lt

SETTINGS = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True,
    "alert_mask": lt.alert.category_t.status_notification
    | lt.alert.category_t.error_notification
    | lt.alert.category_t.peer_notification
    | lt.alert.category_t.connect_notification,
}
stopping = False


def stop(*_):
    global stopping
    stopping = True


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["seed", "fetch"])
    parser.add_argument("torrent")
    parser.add_argument("--data", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--peer")
    parser.add_argument("--upload-limit", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    session = lt.session({**SETTINGS, "listen_interfaces": options.listen})
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(options.torrent)
    parameters.save_path = options.data
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    parameters.flags |= (
        lt.torrent_flags.disable_dht | lt.torrent_flags.disable_lsd | lt.torrent_flags.disable_pex
    )
    if options.role == "seed":
        parameters.flags |= lt.torrent_flags.seed_mode
    torrent = session.add_torrent(parameters)
    if options.upload_limit:
        torrent.set_upload_limit(options.upload_limit)
    peer = None
    if options.peer:
        host, port = options.peer.rsplit(":", 1)
        peer = (host.strip("[]"), int(port))

    announced = finished = False
    checking = (lt.torrent_status.checking_files, lt.torrent_status.checking_resume_data)
    while not stopping:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            print(alert.message(), file=sys.stderr, flush=True)
        status = torrent.status()
        if status.errc.value():
            say("error", message=status.errc.message())
            sys.exit(1)
        if status.state in checking:
            continue
        if (
            options.role == "seed"
            and not announced
            and status.is_seeding
            and session.is_listening()
        ):
            announced = True
            say("listening", port=session.listen_port())
        if peer and not status.is_seeding and status.num_peers == 0:
            torrent.connect_peer(peer)
        if options.role == "fetch" and status.is_seeding and not finished:
            # What is_seeding counts may still be on its way to the disk; the alert comes behind the
            # last write.
            finished = True
            torrent.flush_cache()
            say("complete", bytes=status.total_done)
    say("final", uploaded=torrent.status().total_payload_upload)


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""libtorrent as the fastest seed it can be: usage: libtorrent_seed.py TORRENT DATA_FOLDER ADDRESS:PORT"""

import signal
import sys
import time

import libtorrent as lt


def main():
    torrent, folder, listen = sys.argv[1:]
    settings = lt.high_performance_seed()
    settings.update({
        "listen_interfaces": listen, "alert_mask": 0,
        "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
        "enable_outgoing_utp": False, "enable_incoming_utp": False,
        "allow_multiple_connections_per_ip": True, "connections_limit": 8000, "unchoke_slots_limit": -1,
        "choking_algorithm": 0, "upload_rate_limit": 0, "active_seeds": -1, "active_limit": -1,
        "in_enc_policy": 2, "out_enc_policy": 2, "prefer_rc4": False,
    })
    session = lt.session(settings)
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
    parameters.save_path = folder
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    parameters.flags |= (lt.torrent_flags.seed_mode | lt.torrent_flags.disable_dht | lt.torrent_flags.disable_lsd
                         | lt.torrent_flags.disable_pex)
    handle = session.add_torrent(parameters)
    handle.set_max_uploads(-1)
    handle.set_max_connections(-1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()

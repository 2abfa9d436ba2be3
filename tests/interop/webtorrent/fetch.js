// webtorrent as a client: fetches one torrent from one peer, prints "complete" and stays until it
// is told to end.
// usage: node fetch.js TORRENT FOLDER ADDRESS:PORT LISTEN-PORT
'use strict'
const WebTorrent = require('webtorrent')

const [torrentPath, folder, peer, listenPort] = process.argv.slice(2)
const client = new WebTorrent({
  dht: false,
  lsd: false,
  tracker: false,
  utp: false,
  webSeeds: false,
  natUpnp: false,
  torrentPort: Number(listenPort)
})
client.on('error', error => { console.error(error); process.exit(1) })

const torrent = client.add(torrentPath, { path: folder })
torrent.on('warning', warning => console.error('warning:', warning))
// A peer that is lost (a seed that starts later, a reset) is tried again, as a tracker would make
// it.
torrent.on('infoHash', () => torrent.addPeer(peer))
const retry = setInterval(() => {
  if (!torrent.done && torrent.numPeers === 0) torrent.addPeer(peer)
}, 500)
torrent.on('wire', (wire, address) => console.error('connected to', address, 'as', wire.type))
torrent.on('done', () => { clearInterval(retry); console.log('complete') })

const end = () => client.destroy(() => process.exit(0))
process.on('SIGTERM', end)
process.on('SIGINT', end)

// Makes torrents with npm's create-torrent. stdin: JSON, [{input, output, options}, …].
'use strict'
const fs = require('fs')
const createTorrent = require('create-torrent')

const jobs = JSON.parse(fs.readFileSync(0, 'utf8'))

function next () {
  const job = jobs.shift()
  if (!job) return
  createTorrent(job.input, job.options, (error, torrent) => {
    if (error) {
      console.error(job.input + ': ' + error.message)
      process.exit(1)
    }
    fs.writeFileSync(job.output, torrent)
    next()
  })
}

next()

// Bencoding: no input may break the parser; what is canonical is written back as it was.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/assert.hh"
#include "wire/bencode.hh"

namespace {

using penstock::bencode::Document;
using penstock::bencode::Kind;
using penstock::bencode::Value;
using penstock::bencode::Writer;

// The depth is bounded by the parser.
void write(Writer& writer, Value value) {
  switch (value.kind()) {
    case Kind::none:
      UNREACHABLE();
    case Kind::integer:
      writer.integer(value.integer());
      return;
    case Kind::string:
      writer.string(value.bytes());
      return;
    case Kind::list:
      writer.begin_list();
      for (Value v = value.first(); v; v = value.after(v))
        write(writer, v);
      writer.end();
      return;
    case Kind::dictionary:
      break;
  }
  writer.begin_dictionary();
  for (Value k = value.first(); k;) {
    const Value v = value.after(k);
    ASSERT(value.find(k.string()));
    writer.key(k.bytes());
    write(writer, v);
    k = value.after(v);
  }
  writer.end();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  Document document;
  const auto status = document.parse(input, {.depth_max = 64, .tokens_max = 10'000});
  ASSERT(status.position <= size);
  ASSERT(static_cast<bool>(document.root()) == (status.fault == penstock::bencode::Fault::none));
  if (!document.root()) return 0;
  const auto raw = document.root().raw();
  ASSERT(raw.size() == status.position);

  // Storage of the exact size is enough, one token less is not.
  std::vector<penstock::bencode::Token> tokens(status.tokens);
  ASSERT(parse_into(input, tokens, 64).fault == penstock::bencode::Fault::none);
  tokens.pop_back();
  ASSERT(parse_into(input, tokens, 64).fault == penstock::bencode::Fault::too_many_tokens);

  if (!is_canonical(document.root())) return 0;
  std::vector<std::byte> out;
  Writer writer(out);
  write(writer, document.root());
  ASSERT(std::vector<std::byte>(raw.begin(), raw.end()) == out);
  return 0;
}

// Two memory streams in the place of stderr and stdout.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace penstock::cli {

class MemoryStream {
 public:
  MemoryStream() : file_(::open_memstream(&text_, &size_)) {}
  ~MemoryStream() {
    std::fclose(file_);
    std::free(text_);
  }
  MemoryStream(const MemoryStream&) = delete;
  MemoryStream& operator=(const MemoryStream&) = delete;
  std::FILE* file() { return file_; }
  std::string text() {
    std::fflush(file_);
    return std::string(text_, size_);
  }

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* file_;
};

class Streams {
 public:
  std::FILE* err() { return err_.file(); }
  std::FILE* out() { return out_.file(); }
  std::string err_text() { return err_.text(); }
  std::string out_text() { return out_.text(); }

 private:
  MemoryStream err_;
  MemoryStream out_;
};

}  // namespace penstock::cli

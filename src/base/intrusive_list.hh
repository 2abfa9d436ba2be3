// Doubly linked lists through hooks inside their elements: nothing is allocated, any element leaves
// its list in constant time, and an element may be in several lists at once (one hook a tag).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/assert.hh"

namespace penstock {

template <class Tag>
class Hook {
 public:
  Hook() = default;
  Hook(const Hook&) = delete;
  Hook& operator=(const Hook&) = delete;
  [[nodiscard]] bool linked() const { return next_ != nullptr; }

 private:
  template <class, class>
  friend class List;
  Hook* prev_ = nullptr;
  Hook* next_ = nullptr;
};

// T derives from Hook<Tag>. The list owns nothing; elements must leave before they or it die.
template <class T, class Tag>
class List {
 public:
  using Node = Hook<Tag>;

  List() { head_.prev_ = head_.next_ = &head_; }
  List(const List&) = delete;
  List& operator=(const List&) = delete;

  [[nodiscard]] bool empty() const { return head_.next_ == &head_; }
  [[nodiscard]] std::uint32_t size() const { return size_; }
  [[nodiscard]] T* front() const { return empty() ? nullptr : static_cast<T*>(head_.next_); }
  [[nodiscard]] T* back() const { return empty() ? nullptr : static_cast<T*>(head_.prev_); }
  // The element behind this one; nullptr behind the last.
  [[nodiscard]] T* next(const T* element) const {
    Node* node = static_cast<const Node*>(element)->next_;
    return node == &head_ ? nullptr : static_cast<T*>(node);
  }

  void push_back(T* element) { insert(element, head_.prev_); }
  void push_front(T* element) { insert(element, &head_); }
  void remove(T* element) {
    Node* node = element;
    DCHECK(node->linked());
    node->prev_->next_ = node->next_;
    node->next_->prev_ = node->prev_;
    node->prev_ = node->next_ = nullptr;
    --size_;
  }
  T* pop_front() {
    T* element = front();
    if (element != nullptr) remove(element);
    return element;
  }

 private:
  void insert(Node* node, Node* after) {
    DCHECK(!node->linked());
    node->prev_ = after;
    node->next_ = after->next_;
    after->next_->prev_ = node;
    after->next_ = node;
    ++size_;
  }

  Node head_;
  std::uint32_t size_ = 0;
};

}  // namespace penstock

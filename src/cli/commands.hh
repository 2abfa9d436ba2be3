// The commands that need no driver. See program.hh for how they register.
#pragma once

namespace penstock::cli {

class Program;

void register_create(Program& program);
void register_show(Program& program);
void register_verify(Program& program);

}  // namespace penstock::cli

"""The operating system: the one place that asks which it is, and what each of them gives.

| | Linux | macOS | Windows |
|---|---|---|---|
| pages for code (``pages``) | mmap, mprotect | the same | VirtualAlloc: not written |
| objects of kernels | ELF, which LLVM is asked for everywhere | ELF | ELF |
| processors, caches (``processors``) | affinity, control groups, sysfs | sysctl | not written |
| floating-point environment (``floating_point``) | glibc's | the C library's | not written |
| workers (``workers``) | pthread, futex | none: programs run on one thread | none |
| forks | hooks of Python's ``os`` | the same | there are none |
| stacks and memory (``native.headroom``) | resource, mmap | the same | no ``resource`` |
| C functions that kernels call | System V, AAPCS64 | the same | another convention |

Linux is tested, on x86-64 and, by emulation, aarch64. macOS is written for, and its branches are
tested on Linux with stand-ins for the C library; nobody has run it: objects of Apple silicon are
placed by LLVM, which knows how its pages become executable. ``import staticgrad`` raises an error
on any other system.
"""

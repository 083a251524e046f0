; The functions of the pool, as LLVM IR with holes: <name> is a place in the pool's memory, a word of
; a row, or what pool_code.py fills in. What they do together is said there.

define internal i64 @sg_clock(ptr %pool) #0 {
entry:
  %time = alloca [2 x i64], align 8
  %clock.at = getelementptr i8, ptr %pool, i64 <clock>
  %clock = load ptr, ptr %clock.at, align 8
  %status = call i32 %clock(i32 1, ptr %time)
  %seconds = load i64, ptr %time, align 8
  %rest.at = getelementptr i8, ptr %time, i64 8
  %rest = load i64, ptr %rest.at, align 8
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %rest
  ret i64 %now
}

; Claims groups of the section that is open and runs them, until none is left: how many it ran.
; First those of its own part, then those of the others', where these are kept after some looks. A
; claim takes the first group of what is left of a part.
define internal i64 @sg_work(ptr %pool, i64 %worker) #0 {
entry:
  %workers.at = getelementptr i8, ptr %pool, i64 <workers>
  %groups.at = getelementptr i8, ptr %pool, i64 <groups>
  %callers.at = getelementptr i8, ptr %pool, i64 <callers>
  %seats.at = getelementptr i8, ptr %pool, i64 <seats>
  %finished.at = getelementptr i8, ptr %pool, i64 <finished>
  %row.at = getelementptr i8, ptr %pool, i64 <row>
  %end.at = getelementptr i8, ptr %pool, i64 <end>
  %block.at = getelementptr i8, ptr %pool, i64 <block>
  %stride.at = getelementptr i8, ptr %pool, i64 <stride>
  %base.at = getelementptr i8, ptr %pool, i64 <base>
  %keeps.at = getelementptr i8, ptr %pool, i64 <keeps>
  %tickets = getelementptr i8, ptr %pool, i64 <tickets>
  %helps = icmp ne i64 %worker, 0
  br label %look
look:
  %part = phi i64 [ %worker, %entry ], [ %part, %lost ], [ %part, %finish ], [ %part.next, %others ], [ %part, %kept ]
  %tried = phi i64 [ 0, %entry ], [ %tried, %lost ], [ %tried, %finish ], [ %tried.next, %others ], [ %tried, %kept ]
  %ran = phi i64 [ 0, %entry ], [ %ran, %lost ], [ %ran.next, %finish ], [ %ran, %others ], [ %ran, %kept ]
  %at = phi ptr [ null, %entry ], [ %at, %lost ], [ %place, %finish ], [ null, %others ], [ %at, %kept ]
  %looked = phi i64 [ 0, %entry ], [ %looked, %lost ], [ %looked, %finish ], [ %looked, %others ], [ %looked.next, %kept ]
  %skipped.parts = mul i64 %part, <LINE>
  %ticket.at = getelementptr i8, ptr %tickets, i64 %skipped.parts
  %ticket = load atomic i64, ptr %ticket.at acquire, align 8
  %left = and i64 %ticket, 4294967295
  %workers = load atomic i64, ptr %workers.at monotonic, align 8
  %is.empty = icmp eq i64 %left, 0
  br i1 %is.empty, label %others, label %whose
whose:
  %keeps = load atomic i64, ptr %keeps.at monotonic, align 8
  %is.early = icmp ult i64 %looked, %keeps
  %is.others = icmp ne i64 %part, %worker
  %is.kept = and i1 %is.others, %is.early
  br i1 %is.kept, label %kept, label %room
kept:
<pause>
  %looked.next = add i64 %looked, 1
  br label %look
others:
  %tried.next = add i64 %tried, 1
  %part.after = add i64 %part, 1
  %is.behind = icmp uge i64 %part.after, %workers
  %part.next = select i1 %is.behind, i64 0, i64 %part.after
  %is.all = icmp uge i64 %tried.next, %workers
  br i1 %is.all, label %leave, label %look
room:
  %is.stranger = icmp uge i64 %worker, %workers
  %callers = load atomic i64, ptr %callers.at monotonic, align 8
  %seats = load atomic i64, ptr %seats.at monotonic, align 8
  %sitting = add i64 %callers, %worker
  %is.full.1 = icmp ugt i64 %sitting, %seats
  %is.full = and i1 %is.full.1, %helps
  %is.barred = or i1 %is.full, %is.stranger
  br i1 %is.barred, label %leave, label %claim
claim:<before>
  %next.ticket = sub i64 %ticket, 1
  %claimed = cmpxchg ptr %ticket.at, i64 %ticket, i64 %next.ticket acq_rel monotonic, align 8
  %won = extractvalue { i64, i1 } %claimed, 1
  br i1 %won, label %own, label %lost
lost:
  br label %look
own:<claimed>
  %groups = load i64, ptr %groups.at, align 8
  %part.end = call i64 @sg_part(i64 %groups, i64 %workers, i64 %part, i64 1)
  %number = sub i64 %part.end, %left
  %base = load i64, ptr %base.at, align 8
  %group = add i64 %number, %base
  %row = load ptr, ptr %row.at, align 8
  %end = load ptr, ptr %end.at, align 8
  %is.first = icmp eq ptr %at, null
  %from = select i1 %is.first, ptr %row, ptr %at
  br label %search
search:
  %place = phi ptr [ %from, %own ], [ %after, %further ]
  %after = getelementptr i64, ptr %place, i64 <words>
  %is.last = icmp uge ptr %after, %end
  br i1 %is.last, label %found, label %compare
compare:
  %first.next.at = getelementptr i64, ptr %after, i64 <word first>
  %first.next = load i64, ptr %first.next.at, align 8
  %is.further = icmp uge i64 %group, %first.next
  br i1 %is.further, label %further, label %found
further:
  br label %search
found:
  %function = load ptr, ptr %place, align 8
  %record.at = getelementptr i64, ptr %place, i64 <word record>
  %record = load ptr, ptr %record.at, align 8
  %own.at = getelementptr i64, ptr %place, i64 <word own>
  %own.offset = load i64, ptr %own.at, align 8
  %total.at = getelementptr i64, ptr %place, i64 <word total>
  %total = load i64, ptr %total.at, align 8
  %grain.at = getelementptr i64, ptr %place, i64 <word grain>
  %grain = load i64, ptr %grain.at, align 8
  %first.at = getelementptr i64, ptr %place, i64 <word first>
  %first = load i64, ptr %first.at, align 8
  %inside = sub i64 %group, %first
  %whole = icmp eq i64 %grain, 0
  %step = select i1 %whole, i64 %total, i64 %grain
  %begin = mul i64 %inside, %step
  %stop.1 = add i64 %begin, %step
  %is.short = icmp sgt i64 %stop.1, %total
  %stop = select i1 %is.short, i64 %total, i64 %stop.1
  %block = load ptr, ptr %block.at, align 8
  %stride = load i64, ptr %stride.at, align 8
  %skipped = mul i64 %worker, %stride
  %mine = getelementptr i8, ptr %block, i64 %skipped
  %own.words = getelementptr i8, ptr %mine, i64 %own.offset
  call void %function(ptr %record, ptr %own.words, i64 %begin, i64 %stop)
  br label %finish
finish:<ran>
  %ran.next = add i64 %ran, 1
  br label %look
leave:
  %ran.last = phi i64 [ %ran, %others ], [ %ran, %room ]
  %has.run = icmp ne i64 %ran.last, 0
  %reports = and i1 %has.run, %helps
  br i1 %reports, label %report, label %return
report:
  %old = atomicrmw add ptr %finished.at, i64 %ran.last release, align 8
  br label %return
return:
  ret i64 %ran.last
}

; The first group of a part, or of the one so many behind it.
define internal i64 @sg_part(i64 %groups, i64 %workers, i64 %part, i64 %behind) alwaysinline #0 {
entry:
  %until = add i64 %part, %behind
  %product = mul i64 %groups, %until
  %rounded.1 = add i64 %product, %workers
  %rounded = sub i64 %rounded.1, 1
  %first = udiv i64 %rounded, %workers
  ret i64 %first
}

; A thread of the pool. Its argument is the address of the pool, then its number.
define internal ptr @sg_worker(ptr %argument) #0 {
entry:
  %pool = load ptr, ptr %argument, align 8
  %number.at = getelementptr i8, ptr %argument, i64 8
  %number = load i64, ptr %number.at, align 8
  %skipped.parts = mul i64 %number, <LINE>
  %tickets = getelementptr i8, ptr %pool, i64 <tickets>
  %ticket.at = getelementptr i8, ptr %tickets, i64 %skipped.parts
  %ended.at = getelementptr i8, ptr %pool, i64 <ended>
  %spin.at = getelementptr i8, ptr %pool, i64 <spin>
  %wake.at = getelementptr i8, ptr %pool, i64 <wake>
  %asleep.at = getelementptr i8, ptr %pool, i64 <asleep>
  %syscall.at = getelementptr i8, ptr %pool, i64 <syscall>
  %syscall.tid = load ptr, ptr %syscall.at, align 8
  %thread = call i64 (i64, ...) %syscall.tid(i64 <gettid>)
  %not = xor i64 %thread, -1
  %process = shl i64 %not, 3
  %own.clock = or i64 %process, <CPU>
  %own.clock.at = getelementptr i8, ptr %argument, i64 16
  store atomic i64 %own.clock, ptr %own.clock.at monotonic, align 8
  call void @sg_part_from_caller(ptr %pool)
  br label %active
active:
  %known.1 = phi i64 [ -1, %entry ], [ %generation, %work ], [ %known.2, %wait ]
  %since = call i64 @sg_clock(ptr %pool)
  br label %poll
poll:
  %tried = phi i64 [ 0, %active ], [ %tried.next, %again ], [ 0, %late ]
  %known = phi i64 [ %known.1, %active ], [ %known.2, %again ], [ %known.2, %late ]
  %ticket = load atomic i64, ptr %ticket.at acquire, align 8
  %generation = lshr i64 %ticket, 32
  %left = and i64 %ticket, 4294967295
  %is.new = icmp ne i64 %generation, %known
  %is.open = icmp ne i64 %left, 0
  %is.work = or i1 %is.new, %is.open
  br i1 %is.work, label %work, label %idle
work:
  %ran = call i64 @sg_work(ptr %pool, i64 %number)
  %has.run = icmp ne i64 %ran, 0
  br i1 %has.run, label %active, label %idle
idle:
  %known.2 = phi i64 [ %known, %poll ], [ %generation, %work ]
  %ended = load atomic i64, ptr %ended.at acquire, align 8
  %is.ended = icmp ne i64 %ended, 0
  br i1 %is.ended, label %exit, label %rest
rest:
<pause>
  %tried.next = add i64 %tried, 1
  %is.soon = icmp ult i64 %tried.next, 64
  br i1 %is.soon, label %again, label %late
again:
  br label %poll
late:
  %now = call i64 @sg_clock(ptr %pool)
  %spent = sub i64 %now, %since
  %spin = load i64, ptr %spin.at, align 8
  %is.patient = icmp ult i64 %spent, %spin
  br i1 %is.patient, label %poll, label %sleep
sleep:
  %seen = load atomic i32, ptr %wake.at seq_cst, align 64
  store atomic i64 1, ptr %asleep.at seq_cst, align 64
  %ended.2 = load atomic i64, ptr %ended.at seq_cst, align 8
  %is.ended.2 = icmp ne i64 %ended.2, 0
  br i1 %is.ended.2, label %exit, label %wait
wait:
  %syscall = load ptr, ptr %syscall.at, align 8
  %woken = call i64 (i64, ...) %syscall(i64 <futex>, ptr %wake.at, i32 <WAIT>, i32 %seen, ptr null, ptr null, i32 0)
  call void @sg_part_from_caller(ptr %pool)
  br label %active
exit:
  ret ptr null
}

; Moves the worker that calls to another processor if it is on that of the section's caller: its
; processors without that one are asked for, and then all again, which moves nobody.
define internal void @sg_part_from_caller(ptr %pool) #0 {
entry:
  %all = alloca [<MASK> x i8], align 8
  %others = alloca [<MASK> x i8], align 8
  %getcpu.at = getelementptr i8, ptr %pool, i64 <getcpu>
  %getcpu = load ptr, ptr %getcpu.at, align 8
  %processor = call i32 %getcpu()
  %callers.at = getelementptr i8, ptr %pool, i64 <processor>
  %callers = load atomic i32, ptr %callers.at monotonic, align 8
  %is.together = icmp eq i32 %processor, %callers
  %is.within = icmp ult i32 %processor, <PROCESSORS>
  %moves = and i1 %is.together, %is.within
  br i1 %moves, label %ask, label %done
ask:
  %getaffinity.at = getelementptr i8, ptr %pool, i64 <getaffinity>
  %getaffinity = load ptr, ptr %getaffinity.at, align 8
  %setaffinity.at = getelementptr i8, ptr %pool, i64 <setaffinity>
  %setaffinity = load ptr, ptr %setaffinity.at, align 8
  %asked = call i32 %getaffinity(i32 0, i64 <MASK>, ptr %all)
  %is.known = icmp eq i32 %asked, 0
  br i1 %is.known, label %move, label %done
move:
  call void @llvm.memcpy.p0.p0.i64(ptr align 8 %others, ptr align 8 %all, i64 <MASK>, i1 false)
  %byte = lshr i32 %processor, 3
  %byte.at = getelementptr i8, ptr %others, i32 %byte
  %bits = load i8, ptr %byte.at, align 1
  %bit = and i32 %processor, 7
  %bit.8 = trunc i32 %bit to i8
  %one = shl i8 1, %bit.8
  %not = xor i8 %one, -1
  %bits.others = and i8 %bits, %not
  store i8 %bits.others, ptr %byte.at, align 1
  %moved = call i32 %setaffinity(i32 0, i64 <MASK>, ptr %others)
  %has.moved = icmp eq i32 %moved, 0
  br i1 %has.moved, label %restore, label %done
restore:
  %restored = call i32 %setaffinity(i32 0, i64 <MASK>, ptr %all)
  br label %done
done:
  ret void
}

; The time that workers have had a processor, all together, in nanoseconds.
define internal i64 @sg_worked(ptr %pool, i64 %workers) noinline #0 {
entry:
  %time = alloca [2 x i64], align 8
  %rest.at = getelementptr i8, ptr %time, i64 8
  %clock.at = getelementptr i8, ptr %pool, i64 <clock>
  %clock = load ptr, ptr %clock.at, align 8
  %alive.at = getelementptr i8, ptr %pool, i64 <alive>
  %alive = load i64, ptr %alive.at, align 8
  %others = sub i64 %workers, 1
  %is.fewer = icmp ult i64 %alive, %others
  %most = select i1 %is.fewer, i64 %alive, i64 %others
  %clocks.at = getelementptr i8, ptr %pool, i64 <clocks>
  br label %next
next:
  %number = phi i64 [ 0, %entry ], [ %number.next, %ask ], [ %number.next, %look ]
  %sum = phi i64 [ 0, %entry ], [ %more, %ask ], [ %sum, %look ]
  %is.more = icmp ult i64 %number, %most
  br i1 %is.more, label %look, label %done
look:
  %number.next = add i64 %number, 1
  %skipped = mul i64 %number, <ENTRY>
  %own.clock.at = getelementptr i8, ptr %clocks.at, i64 %skipped
  %own.clock = load atomic i64, ptr %own.clock.at monotonic, align 8
  %is.unknown = icmp eq i64 %own.clock, 0
  br i1 %is.unknown, label %next, label %ask
ask:
  %short = trunc i64 %own.clock to i32
  store i64 0, ptr %time, align 8
  store i64 0, ptr %rest.at, align 8
  %status = call i32 %clock(i32 %short, ptr %time)
  %seconds = load i64, ptr %time, align 8
  %rest = load i64, ptr %rest.at, align 8
  %whole = mul i64 %seconds, 1000000000
  %one = add i64 %whole, %rest
  %more = add i64 %sum, %one
  br label %next
done:
  ret i64 %sum
}

; Makes the threads that are wanted; where one cannot be made, no more are wanted.
define internal void @sg_make_workers(ptr %pool) noinline #0 {
entry:
  %all = alloca [128 x i8], align 8
  %old = alloca [128 x i8], align 8
  call void @llvm.memset.p0.i64(ptr align 8 %all, i8 -1, i64 128, i1 false)
  %wanted.at = getelementptr i8, ptr %pool, i64 <wanted>
  %alive.at = getelementptr i8, ptr %pool, i64 <alive>
  %create.at = getelementptr i8, ptr %pool, i64 <create>
  %mask.at = getelementptr i8, ptr %pool, i64 <mask>
  %mask = load ptr, ptr %mask.at, align 8
  %create = load ptr, ptr %create.at, align 8
  %blocked = call i32 %mask(i32 2, ptr %all, ptr %old)
  br label %next
next:
  %alive = load i64, ptr %alive.at, align 8
  %wanted = load atomic i64, ptr %wanted.at monotonic, align 8
  %is.more = icmp ult i64 %alive, %wanted
  br i1 %is.more, label %make, label %done
make:
  %before = mul i64 %alive, <ENTRY>
  %offset = add i64 %before, <threads>
  %entry.at = getelementptr i8, ptr %pool, i64 %offset
  %argument = getelementptr i8, ptr %entry.at, i64 8
  %number.at = getelementptr i8, ptr %entry.at, i64 16
  %number = add i64 %alive, 1
  store ptr %pool, ptr %argument, align 8
  store i64 %number, ptr %number.at, align 8
  %status = call i32 %create(ptr %entry.at, ptr null, ptr @sg_worker, ptr %argument)
  %failed = icmp ne i32 %status, 0
  br i1 %failed, label %refused, label %made
made:
  store i64 %number, ptr %alive.at, align 8
  br label %next
refused:
  store atomic i64 %alive, ptr %wanted.at monotonic, align 8
  br label %done
done:
  %restored = call i32 %mask(i32 2, ptr %old, ptr null)
  ret void
}

; Shares a section with the workers: 1, or 0 where the caller shall run it alone.
define internal i64 @sg_share(ptr %pool, ptr %block, ptr %row, ptr %end, i64 %groups) #0 {
entry:
  %callers.at = getelementptr i8, ptr %pool, i64 <callers>
  %seats.at = getelementptr i8, ptr %pool, i64 <seats>
  %callers = load atomic i64, ptr %callers.at monotonic, align 8
  %seats = load atomic i64, ptr %seats.at monotonic, align 8
  %is.room = icmp ult i64 %callers, %seats
  br i1 %is.room, label %penalty, label %refuse
penalty:
  %until.at = getelementptr i8, ptr %pool, i64 <alone_until>
  %until = load atomic i64, ptr %until.at monotonic, align 8
  %is.free = icmp eq i64 %until, 0
  %begun = call i64 @sg_clock(ptr %pool)
  %is.past = icmp uge i64 %begun, %until
  %may = or i1 %is.free, %is.past
  br i1 %may, label %take, label %refuse
take:
  %taken.at = getelementptr i8, ptr %pool, i64 <taken>
  %got = cmpxchg ptr %taken.at, i64 0, i64 1 acq_rel monotonic, align 8
  %is.ours = extractvalue { i64, i1 } %got, 1
  br i1 %is.ours, label %crew, label %refuse
crew:
  store atomic i64 0, ptr %until.at monotonic, align 8
  %getcpu.at = getelementptr i8, ptr %pool, i64 <getcpu>
  %getcpu = load ptr, ptr %getcpu.at, align 8
  %processor = call i32 %getcpu()
  %processor.at = getelementptr i8, ptr %pool, i64 <processor>
  store atomic i32 %processor, ptr %processor.at monotonic, align 8
  %ended.at = getelementptr i8, ptr %pool, i64 <ended>
  %ended = load atomic i64, ptr %ended.at monotonic, align 8
  %is.ended = icmp ne i64 %ended, 0
  br i1 %is.ended, label %give.up, label %count
count:
  %wanted.at = getelementptr i8, ptr %pool, i64 <wanted>
  %alive.at = getelementptr i8, ptr %pool, i64 <alive>
  %wanted = load atomic i64, ptr %wanted.at monotonic, align 8
  %alive = load i64, ptr %alive.at, align 8
  %is.few = icmp ult i64 %alive, %wanted
  br i1 %is.few, label %make, label %open
make:
  call void @sg_make_workers(ptr %pool)
  br label %open
give.up:
  store atomic i64 0, ptr %taken.at release, align 8
  br label %refuse
open:
  %row.at = getelementptr i8, ptr %pool, i64 <row>
  %end.at = getelementptr i8, ptr %pool, i64 <end>
  %block.at = getelementptr i8, ptr %pool, i64 <block>
  %stride.at = getelementptr i8, ptr %pool, i64 <stride>
  %workers.at = getelementptr i8, ptr %pool, i64 <workers>
  %base.at = getelementptr i8, ptr %pool, i64 <base>
  %finished.at = getelementptr i8, ptr %pool, i64 <finished>
  %groups.at = getelementptr i8, ptr %pool, i64 <groups>
  %tickets = getelementptr i8, ptr %pool, i64 <tickets>
  %first.at = getelementptr i64, ptr %row, i64 <word first>
  %first = load i64, ptr %first.at, align 8
  %block.stride.at = getelementptr i64, ptr %block, i64 <head stride>
  %block.stride = load i64, ptr %block.stride.at, align 8
  %block.workers.at = getelementptr i64, ptr %block, i64 <head workers>
  %block.workers = load i64, ptr %block.workers.at, align 8
  store ptr %row, ptr %row.at, align 8
  store ptr %end, ptr %end.at, align 8
  store ptr %block, ptr %block.at, align 8
  store i64 %block.stride, ptr %stride.at, align 8
  store atomic i64 %block.workers, ptr %workers.at monotonic, align 8
  store i64 %first, ptr %base.at, align 8
  %flags.at = getelementptr i64, ptr %row, i64 <word flags>
  %flags = load i64, ptr %flags.at, align 8
  %flags.keeps = and i64 %flags, <KEEPS>
  %is.kept = icmp ne i64 %flags.keeps, 0
  %keeps = select i1 %is.kept, i64 <KEPT_LOOKS>, i64 0
  %keeps.at = getelementptr i8, ptr %pool, i64 <keeps>
  store atomic i64 %keeps, ptr %keeps.at monotonic, align 8
  store i64 %groups, ptr %groups.at, align 8
  store atomic i64 0, ptr %finished.at monotonic, align 8
  %generation.at = getelementptr i8, ptr %pool, i64 <generation>
  %generation.old = load i64, ptr %generation.at, align 8
  %generation.next = add i64 %generation.old, 1
  store i64 %generation.next, ptr %generation.at, align 8
  %opened = shl i64 %generation.next, 32
  br label %parts
parts:
  %part = phi i64 [ %block.workers, %open ], [ %part.next, %parts ]
  %part.next = sub i64 %part, 1
  %part.first = call i64 @sg_part(i64 %groups, i64 %block.workers, i64 %part.next, i64 0)
  %part.end = call i64 @sg_part(i64 %groups, i64 %block.workers, i64 %part.next, i64 1)
  %length = sub i64 %part.end, %part.first
  %ticket = add i64 %opened, %length
  %skipped = mul i64 %part.next, <LINE>
  %ticket.at = getelementptr i8, ptr %tickets, i64 %skipped
  store atomic i64 %ticket, ptr %ticket.at release, align 8
  %is.first = icmp eq i64 %part.next, 0
  br i1 %is.first, label %opened.all, label %parts
opened.all:
  %latest.at = getelementptr i8, ptr %pool, i64 <begun>
  %latest = load i64, ptr %latest.at, align 8
  store i64 %begun, ptr %latest.at, align 8
  %since = sub i64 %begun, %latest
  %spin.at = getelementptr i8, ptr %pool, i64 <spin>
  %spin = load i64, ptr %spin.at, align 8
  %is.again = icmp ult i64 %since, %spin
  %again = zext i1 %is.again to i64
  %is.worth = and i64 %flags, <WAKES>
  %wakes = or i64 %is.worth, %again
  %asleep.at = getelementptr i8, ptr %pool, i64 <asleep>
  %asleep = load atomic i64, ptr %asleep.at seq_cst, align 64
  %sleeping = and i64 %wakes, %asleep
  %is.sleeping = icmp ne i64 %sleeping, 0
  br i1 %is.sleeping, label %rouse, label %share
rouse:
  store atomic i64 0, ptr %asleep.at seq_cst, align 64
  call void @sg_rouse(ptr %pool)
  br label %share
share:
  %sections.at = getelementptr i8, ptr %pool, i64 <sections>
  %sections = load i64, ptr %sections.at, align 8
  %sections.next = add i64 %sections, 1
  store i64 %sections.next, ptr %sections.at, align 8
  %ran = call i64 @sg_work(ptr %pool, i64 0)
  %theirs = sub i64 %groups, %ran
  %others.even = sub i64 %block.workers, 1
  %even = mul i64 %groups, %others.even
  %theirs.all = mul i64 %theirs, %block.workers
  %theirs.4 = shl i64 %theirs.all, 2
  %over.a.quarter = sub i64 %theirs.4, %even
  %helped.at = getelementptr i64, ptr %block, i64 <head helped>
  %helped.before = load i64, ptr %helped.at, align 8
  %helped.all = add i64 %helped.before, %over.a.quarter
  store i64 %helped.all, ptr %helped.at, align 8
  br label %look
look:
  %looked = phi i64 [ 0, %share ], [ %looked.next, %rest ]
  %finished = load atomic i64, ptr %finished.at acquire, align 8
  %is.done = icmp eq i64 %finished, %theirs
  br i1 %is.done, label %short, label %rest
rest:
<pause>
  %looked.next = add i64 %looked, 1
  %is.soon = icmp ult i64 %looked.next, <LOOKS>
  br i1 %is.soon, label %look, label %long
short:
  %balance.at = getelementptr i8, ptr %pool, i64 <balance>
  %balance = load i64, ptr %balance.at, align 8
  %is.full = icmp sge i64 %balance, <MOST_BALANCE>
  br i1 %is.full, label %done, label %brief
brief:
  %ended.soon = call i64 @sg_clock(ptr %pool)
  br label %settle
long:
  %waiting = call i64 @sg_clock(ptr %pool)
  %used = call i64 @sg_worked(ptr %pool, i64 %block.workers)
  %yield.at = getelementptr i8, ptr %pool, i64 <yield>
  %yield = load ptr, ptr %yield.at, align 8
  br label %look.long
look.long:
  %yielded = call i32 %yield()
  %finished.long = load atomic i64, ptr %finished.at acquire, align 8
  %is.done.long = icmp eq i64 %finished.long, %theirs
  br i1 %is.done.long, label %late, label %look.long
late:
  %ended.late = call i64 @sg_clock(ptr %pool)
  %used.now = call i64 @sg_worked(ptr %pool, i64 %block.workers)
  %used.meanwhile = sub i64 %used.now, %used
  br label %settle
settle:
  %until.wait = phi i64 [ %ended.soon, %brief ], [ %waiting, %late ]
  %over = phi i64 [ %ended.soon, %brief ], [ %ended.late, %late ]
  %used.waiting = phi i64 [ 0, %brief ], [ %used.meanwhile, %late ]
  %waiting.at = getelementptr i8, ptr %pool, i64 <waiting>
  %over.at = getelementptr i8, ptr %pool, i64 <over>
  %worked.at = getelementptr i8, ptr %pool, i64 <worked>
  %ran.at = getelementptr i8, ptr %pool, i64 <caller_ran>
  %punished.at = getelementptr i8, ptr %pool, i64 <punished>
  store i64 %until.wait, ptr %waiting.at, align 8
  store i64 %over, ptr %over.at, align 8
  store i64 %used.waiting, ptr %worked.at, align 8
  store i64 %ran, ptr %ran.at, align 8
  store i64 0, ptr %punished.at, align 8
  call void @sg_decide(ptr %pool, ptr %block, i64 0, i64 0)
  %punished = load i64, ptr %punished.at, align 8
  store atomic i64 %punished, ptr %until.at monotonic, align 8
  br label %done
done:
  store atomic i64 0, ptr %taken.at release, align 8
  ret i64 1
refuse:
  ret i64 0
}

; Wakes all workers that sleep.
define internal void @sg_rouse(ptr %pool) noinline #0 {
entry:
  %wake.at = getelementptr i8, ptr %pool, i64 <wake>
  %syscall.at = getelementptr i8, ptr %pool, i64 <syscall>
  %old = atomicrmw add ptr %wake.at, i32 1 seq_cst, align 64
  %syscall = load ptr, ptr %syscall.at, align 8
  %woken = call i64 (i64, ...) %syscall(i64 <futex>, ptr %wake.at, i32 <WAKE>, i32 2147483647, ptr null, ptr null, i32 0)
  ret void
}

; Runs the rows from a place to an end: sections together with the workers, all others alone.
; What the driver itself asks where a row of function 0 leads is a function that it hands over.
define void @<symbol>(ptr %pool, ptr %block, ptr %begin, ptr %end, ptr %control) #0 {
entry:
  %callers.at = getelementptr i8, ptr %pool, i64 <callers>
  %come = atomicrmw add ptr %callers.at, i64 1 monotonic, align 8
  %measures.at = getelementptr i64, ptr %block, i64 <head measures>
  %measures = load i64, ptr %measures.at, align 8
  %is.unknown = icmp eq i64 %measures, 0
  br i1 %is.unknown, label %start, label %choose
choose:
  %row = ptrtoint ptr %begin to i64
  call void @sg_decide(ptr %pool, ptr %block, i64 %row, i64 0)
  %mode.at = getelementptr i64, ptr %block, i64 <head mode>
  %chosen = load i64, ptr %mode.at, align 8
  %begun = call i64 @sg_clock(ptr %pool)
  br label %start
start:
  %is.single = phi i64 [ 0, %entry ], [ %chosen, %choose ]
  %since = phi i64 [ 0, %entry ], [ %begun, %choose ]
  %shares = icmp eq i64 %is.single, 0
  br label %next
next:
  %place = phi ptr [ %begin, %start ], [ %went, %ran ], [ %section.end, %shared ]
  %is.inside = icmp ult ptr %place, %end
  %is.row = icmp ne ptr %place, null
  %is.more = and i1 %is.inside, %is.row
  br i1 %is.more, label %kind, label %done
kind:
  %section.at = getelementptr i64, ptr %place, i64 <word section>
  %section = load i64, ptr %section.at, align 8
  %is.section.1 = icmp sgt i64 %section, 0
  %is.section = and i1 %is.section.1, %shares
  br i1 %is.section, label %measure, label %alone
measure:
  %section.end.1 = getelementptr [<words> x i64], ptr %place, i64 %section
  %is.beyond = icmp ugt ptr %section.end.1, %end
  %section.end = select i1 %is.beyond, ptr %end, ptr %section.end.1
  %last = getelementptr i64, ptr %section.end, i64 -<words>
  %first.at = getelementptr i64, ptr %place, i64 <word first>
  %first = load i64, ptr %first.at, align 8
  %last.first.at = getelementptr i64, ptr %last, i64 <word first>
  %last.first = load i64, ptr %last.first.at, align 8
  %last.total.at = getelementptr i64, ptr %last, i64 <word total>
  %last.total = load i64, ptr %last.total.at, align 8
  %last.grain.at = getelementptr i64, ptr %last, i64 <word grain>
  %last.grain = load i64, ptr %last.grain.at, align 8
  %is.whole = icmp eq i64 %last.grain, 0
  %divisor = select i1 %is.whole, i64 1, i64 %last.grain
  %rounded.1 = add i64 %last.total, %divisor
  %rounded = sub i64 %rounded.1, 1
  %quotient = udiv i64 %rounded, %divisor
  %last.groups = select i1 %is.whole, i64 1, i64 %quotient
  %before = sub i64 %last.first, %first
  %groups = add i64 %before, %last.groups
  %is.worth = icmp ugt i64 %groups, 1
  br i1 %is.worth, label %ask, label %alone
ask:
  %answer = call i64 @sg_share(ptr %pool, ptr %block, ptr %place, ptr %section.end, i64 %groups)
  %is.shared = icmp ne i64 %answer, 0
  br i1 %is.shared, label %shared, label %alone
shared:
  br label %next
alone:
  %stop = phi ptr [ null, %kind ], [ %section.end, %measure ], [ %section.end, %ask ]
  br label %run
run:
  %current = phi ptr [ %place, %alone ], [ %after, %ran.1 ]
  %function = load ptr, ptr %current, align 8
  %is.control = icmp eq ptr %function, null
  br i1 %is.control, label %ask.control, label %call
ask.control:
  %jumped = call ptr %control(ptr %block, ptr %current)
  br label %ran
call:
  %record.at = getelementptr i64, ptr %current, i64 <word record>
  %record = load ptr, ptr %record.at, align 8
  %own.at = getelementptr i64, ptr %current, i64 <word own>
  %own.offset = load i64, ptr %own.at, align 8
  %own = getelementptr i8, ptr %block, i64 %own.offset
  %total.at = getelementptr i64, ptr %current, i64 <word total>
  %total = load i64, ptr %total.at, align 8
  call void %function(ptr %record, ptr %own, i64 0, i64 %total)
  %after = getelementptr i64, ptr %current, i64 <words>
  %is.on = icmp ult ptr %after, %stop
  br i1 %is.on, label %ran.1, label %ran
ran.1:
  br label %run
ran:
  %went = phi ptr [ %after, %call ], [ %jumped, %ask.control ]
  br label %next
done:
  %gone = atomicrmw sub ptr %callers.at, i64 1 monotonic, align 8
  br i1 %is.unknown, label %end.of.run, label %note
note:
  %ended = call i64 @sg_clock(ptr %pool)
  %spent = sub i64 %ended, %since
  %spent.at = getelementptr i64, ptr %block, i64 <head spent>
  %spent.before = load i64, ptr %spent.at, align 8
  %spent.all = add i64 %spent.before, %spent
  store i64 %spent.all, ptr %spent.at, align 8
  br label %end.of.run
end.of.run:
  ret void
}

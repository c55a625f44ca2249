# SPDX-License-Identifier: Apache-2.0
"""gdb: a request's frames as a backtrace, since the C stack only shows the turn loop.

    (gdb) source tools/gdb_req.py
    (gdb) req REQUEST          the request and who waits for it, newest frame first
    (gdb) worker WORKER        what a worker holds: completed, arrived, outboxes
"""
import gdb


def frames(req):
    """(offset, struct frame, the function that runs) from the newest to the submitter's."""
    memory = req["frames"].address.cast(gdb.lookup_type("unsigned char").pointer())
    offset, end = int(req["frame_top"]), int(req["frame_end"])
    while end > 0:
        frame = (memory + offset).cast(gdb.lookup_type("struct frame").pointer()).dereference()
        yield offset, frame, gdb.block_for_pc(int(frame["done"]))
        end, offset = offset, int(frame["below"])


def describe(req):
    state = ("idle", "running", "done")[int(req["state"])]
    text = f"req {req.address}: {state}, {req['status']}, result {int(req['result'])}"
    if req["canceled"]:
        text += ", canceled"
    if int(req["deadline_ns"]):
        left = int(req["deadline_ns"]) - int(req["worker"]["now_ns"])
        text += f", deadline in {left} ns"
    return text


class Req(gdb.Command):
    """req EXPRESSION: a struct req or a pointer to one, and its frames."""

    def __init__(self):
        super().__init__("req", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        req = gdb.parse_and_eval(argument)
        if req.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
            req = req.dereference()
        print(describe(req))
        for number, (offset, frame, block) in enumerate(frames(req)):
            name = block.function if block and block.function else frame["done"]
            where = f" at {block.function.symtab.filename}:{block.function.line}" \
                if block and block.function else ""
            print(f"#{number}  {name}{where}  ({int(frame['size'])} bytes at {offset})")


class Worker(gdb.Command):
    """worker EXPRESSION: a struct worker or a pointer to one: what it holds."""

    def __init__(self):
        super().__init__("worker", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        worker = gdb.parse_and_eval(argument)
        if worker.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
            worker = worker.dereference()
        stats = worker["stats"]
        print(f"worker {int(worker['id'])}: turn {int(stats['turns'])}, now {int(worker['now_ns'])}"
              f" ns, {int(worker['timers']['count'])} timers")
        for name in ("completed", "arrived"):
            self.show(name, worker[name])
        mask = int(worker["outbox_mask"])
        for peer in range(int(worker["peer_limit"])):
            if mask >> peer & 1:
                self.show(f"outbox to worker {peer}", worker["outbox"][peer])

    @staticmethod
    def show(name, listed):
        req, count = listed["stqh_first"], 0
        while int(req):
            print(f"  {name}: {describe(req.dereference())}")
            req, count = req.dereference()["link"]["stqe_next"], count + 1
            if count == 1000:
                print(f"  {name}: more than 1000; a ring?")
                return


Req()
Worker()

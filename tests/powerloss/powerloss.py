#!/usr/bin/env python3
"""What the store remembers after the power went.

Runs `crash_writer` (the real store, audit log and views) under strace, rebuilds
its directory as it could be after a power loss at many moments, and runs
`crash_check` on each: does it open, is every acknowledged step there and whole,
does the audit verify, do the views answer, do thirty more steps work.

    cargo build -p airlock-journal --examples
    tests/powerloss/powerloss.py --bin target/debug/examples

With `--workload run` the same is done with runs of agents: `run_writer` and
`run_check`, the store being one folder of a host's data; moments before the first
acknowledgement, while the host is set up, are left out.

States at each moment: `kill` (everything issued is there), `durable` (only what
a completed fsync or fdatasync covered), `torn` (that, and any 512- or 4,096-byte
pieces of the rest, in any order), `views` (everything, the views' files being
garbage). Strict: only fsync and fdatasync make anything durable; lenient:
sync_file_range does too. Not modelled: directory operations count as durable in
their order; failing syncs, bit rot and full disks are other tests. Needs strace.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

PAGE = 4096
ZERO = bytes(PAGE)
MODELS = ('strict', 'lenient')
# How each session of the writer ends, and how many steps it has in flight.
SESSIONS = (('exit', 1), ('clean', 1), ('exit', 8), ('exit', 1), ('clean', 8))
SYSCALLS = (
    'openat,open,creat,close,dup,dup2,dup3,fcntl,pwrite64,write,writev,pwritev,pwritev2,read,'
    'readv,lseek,ftruncate,truncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,mkdir,'
    'mkdirat,rmdir,link,linkat,symlink,symlinkat,fsync,fdatasync,sync_file_range,msync,'
    'copy_file_range,sendfile,io_uring_setup,sync,syncfs')
UNMODELLED = {
    'writev', 'pwritev', 'pwritev2', 'fallocate', 'truncate', 'link', 'linkat', 'symlink',
    'symlinkat', 'copy_file_range', 'sendfile', 'io_uring_setup', 'sync', 'syncfs', 'msync'}


class Pages:
    """A sparse file of immutable pages, cheap to copy."""

    def __init__(self):
        self.size, self.pages = 0, {}

    def copy(self):
        other = Pages()
        other.size, other.pages = self.size, dict(self.pages)
        return other

    def write(self, offset, data):
        at, end = offset, offset + len(data)
        while at < end:
            page, inner = divmod(at, PAGE)
            count = min(PAGE - inner, end - at)
            piece = data[at - offset:at - offset + count]
            if count < PAGE:
                old = self.pages.get(page, ZERO)
                piece = old[:inner] + piece + old[inner + count:]
            self.pages[page] = piece
            at += count
        self.size = max(self.size, end)

    def truncate(self, size):
        if size < self.size:
            last, inner = divmod(size, PAGE)
            for page in [page for page in self.pages if page > last or (page == last and not inner)]:
                del self.pages[page]
            if inner and last in self.pages:
                self.pages[last] = self.pages[last][:inner] + bytes(PAGE - inner)
        self.size = size

    def save(self, path):
        with open(path, 'wb') as file:
            for page, data in self.pages.items():
                if page * PAGE < self.size:
                    os.pwrite(file.fileno(), data[:self.size - page * PAGE], page * PAGE)
            file.truncate(self.size)


class Write:
    """A write that was issued; its pieces share whether it completed."""

    def __init__(self, offset, data, token=None):
        self.offset, self.data = offset, data
        self.token = token or {'done': False}

    def part(self, start, end):
        return Write(start, self.data[start - self.offset:end - self.offset], self.token)

    @property
    def end(self):
        return self.offset + len(self.data)


class Inode:
    """A file: as the kernel shows it, and per model what is durable and what may be."""

    def __init__(self):
        self.now = Pages()
        self.durable = {model: Pages() for model in MODELS}
        self.pending = {model: [] for model in MODELS}

    def write(self, offset, data):
        self.now.write(offset, data)
        write = Write(offset, data)
        for model in MODELS:
            self.pending[model].append(write)
        return write

    def truncate(self, size):
        for pages in (self.now, *self.durable.values()):
            pages.truncate(size)
        for model in MODELS:
            kept = [write for write in self.pending[model] if write.offset < size]
            self.pending[model] = [
                write.part(write.offset, size) if write.end > size else write for write in kept]

    def completed(self, model):
        """The writes that a sync which begins now will cover."""
        return {id(write.token): write.token for write in self.pending[model] if write.token['done']}

    def sync(self, model, covered, start=0, end=1 << 62):
        rest = []
        for write in self.pending[model]:
            low, high = max(write.offset, start), min(write.end, end)
            if id(write.token) not in covered or low >= high:
                rest.append(write)
                continue
            part = write.part(low, high)
            self.durable[model].write(part.offset, part.data)
            if write.offset < low:
                rest.append(write.part(write.offset, low))
            if high < write.end:
                rest.append(write.part(high, write.end))
        self.pending[model] = rest

    def torn(self, model, rng, plan):
        """The durable image with a part of what was pending, sector by sector; each
        sector's content is one it really had."""
        image, pending = self.durable[model].copy(), self.pending[model]
        if not pending:
            return image
        if plan['mode'] == 'prefix':
            return torn_prefix(image, pending, rng, plan['sector'])
        versions = collections.defaultdict(list)
        for number, write in enumerate(pending):
            for sector in range(write.offset // plan['sector'], -(-write.end // plan['sector'])):
                versions[sector].append(number)
        kept = kept_versions(versions, len(pending), rng, plan)
        for sector in sorted(kept):
            for number in versions[sector][:kept[sector]]:
                write = pending[number]
                low = max(write.offset, sector * plan['sector'])
                high = min(write.end, (sector + 1) * plan['sector'])
                if low < high:
                    image.write(low, write.part(low, high).data)
        return image


def torn_prefix(image, pending, rng, sector):
    """The first writes landed, and a part of the next one."""
    count = rng.randint(0, len(pending))
    for write in pending[:count]:
        image.write(write.offset, write.data)
    if count < len(pending):
        write = pending[count]
        end = (write.offset + rng.randint(0, len(write.data))) // sector * sector
        if end > write.offset:
            image.write(write.offset, write.part(write.offset, end).data)
    return image


def kept_versions(versions, writes, rng, plan):
    """How many of each sector's versions landed."""
    kept = {sector: len(found) for sector, found in versions.items()}
    if plan['mode'] == 'drop-some':
        for sector in rng.sample(sorted(kept), min(len(kept), rng.choice([1, 1, 2, 5]))):
            kept[sector] = rng.randint(0, len(versions[sector]) - 1)
    elif plan['mode'] == 'drop-recent':
        for sector in sorted(kept):
            if versions[sector][-1] >= writes - 8 and rng.random() < 0.5:
                kept[sector] = rng.randint(0, len(versions[sector]) - 1)
    else:
        for sector in sorted(kept):
            draw, share = rng.random(), plan['share']
            if draw >= share:
                low = draw < share + (1 - share) / 2
                kept[sector] = 0 if low else rng.randint(0, len(versions[sector]))
    return kept


PLANS = [
    {'mode': 'random', 'share': 0.5}, {'mode': 'random', 'share': 0.9}, {'mode': 'prefix'},
    {'mode': 'drop-some'}, {'mode': 'drop-recent'}, {'mode': 'random', 'share': 0.1}]


def unhex(text):
    return bytes.fromhex(text.replace('\\x', ''))


def trace_lines(path):
    """Yields (pid, phase, call, arguments, result); the phase is `begin`, `end` or `both`."""
    begun = {}
    with open(path) as file:
        for line in file:
            pid, _, rest = line.partition(' ')
            rest = rest.strip()
            if rest.startswith(('+++', '---')):
                continue
            if rest.startswith('<...'):
                call, result = rest.split()[1], rest[rest.rfind(' = ') + 3:].strip()
                if ' = ' in rest and pid in begun:
                    yield pid, 'end', call, begun.pop(pid), result
            elif '(' in rest:
                call, _, rest = rest.partition('(')
                if rest.endswith('<unfinished ...>'):
                    begun[pid] = rest[:rest.rfind('<unfinished')].rstrip().rstrip(',')
                    yield pid, 'begin', call, begun[pid], None
                else:
                    end = rest.rfind(' = ')
                    arguments = rest[:rest.rfind(')', 0, end)]
                    yield pid, 'both', call, arguments, rest[end + 3:].strip()


class Open:
    """An open file (or, without an inode, directory)."""

    def __init__(self, path, inode, append=False):
        self.path, self.inode, self.append, self.position = path, inode, append, 0


class Replay:
    """Replays the traces and calls back after each event that changes the disk."""

    def __init__(self, root, on_event, lose_syncs=False):
        self.root, self.on_event, self.lose_syncs = root, on_event, lose_syncs
        self.names, self.dirs = {}, set()
        self.files, self.running = {}, {}
        self.acked, self.group, self.events = 0, 1, 0
        self.problems = collections.Counter()

    def run(self, traces):
        for trace, (_, self.group) in zip(traces, SESSIONS):
            self.files, self.running = {}, {}
            for pid, phase, call, arguments, result in trace_lines(trace):
                self.line(pid, phase, call, arguments, result)

    def line(self, pid, phase, call, arguments, result):
        if result is not None and result.startswith(('?', '-1')):
            self.running.pop(pid, None)
            failed = result.startswith('-1') and call in ('write', 'pwrite64', 'fsync', 'fdatasync')
            if failed and self.file(arguments):
                self.problems[f'{call} failed: {result}'] += 1
            return
        begins, ends = phase in ('begin', 'both'), phase in ('end', 'both')
        handler = getattr(self, 'on_' + call, None)
        if handler:
            event = handler(pid, arguments, result, begins, ends)
            if event:
                self.on_event(self, self.events, event)
                self.events += 1
        elif call in UNMODELLED and arguments[:1].isdigit() and self.file(arguments):
            self.problems[f'{call} is not modelled'] += 1

    def file(self, arguments):
        found = re.match(r'\d+', arguments)
        opened = self.files.get(int(found.group())) if found else None
        return opened if opened and opened.inode else None

    def path(self, directory, name):
        name = unhex(name.strip('"')).decode()
        if name.startswith('/'):
            return name
        found = re.match(r'\d+', directory)
        base = self.files.get(int(found.group())) if found else None
        return f'{base.path}/{name}' if base else None

    def inside(self, path):
        return path is not None and (path == self.root or path.startswith(self.root + '/'))

    def on_openat(self, pid, arguments, result, begins, ends):
        if not ends:
            return None
        parts, event = arguments.split(', '), None
        path, fd = self.path(parts[0], parts[1]), int(re.match(r'\d+', result).group())
        if not self.inside(path):
            self.files.pop(fd, None)
            return None
        if 'O_DIRECTORY' in arguments or path in self.dirs or path == self.root:
            self.files[fd] = Open(path, None)
            return None
        if path not in self.names:
            self.names[path], event = Inode(), 'create'
        inode = self.names[path]
        if 'O_TRUNC' in arguments and inode.now.size:
            inode.truncate(0)
            event = 'truncate'
        self.files[fd] = Open(path, inode, 'O_APPEND' in arguments)
        return event

    def on_close(self, pid, arguments, result, begins, ends):
        if begins:
            self.files.pop(int(re.match(r'\d+', arguments).group()), None)

    def on_dup(self, pid, arguments, result, begins, ends):
        opened = self.files.get(int(re.match(r'\d+', arguments).group()))
        if ends and opened:
            self.files[int(re.match(r'\d+', result).group())] = opened

    on_dup2 = on_dup3 = on_dup

    def on_fcntl(self, pid, arguments, result, begins, ends):
        if 'F_DUPFD' in arguments:
            self.on_dup(pid, arguments, result, begins, ends)

    def on_lseek(self, pid, arguments, result, begins, ends):
        opened = self.file(arguments)
        if ends and opened:
            opened.position = int(result)

    def on_read(self, pid, arguments, result, begins, ends):
        opened = self.file(arguments)
        if ends and opened:
            opened.position += int(result)

    def on_write(self, pid, arguments, result, begins, ends):
        event = None
        if begins:
            event = self.begin_write(pid, arguments)
        if ends and pid in self.running:
            write = self.running.pop(pid)
            write.token['done'] = True
            if int(result) != len(write.data):
                self.problems['short write'] += 1
        return event

    on_pwrite64 = on_write

    def begin_write(self, pid, arguments):
        first, last = arguments.index('"'), arguments.rindex('"')
        if arguments.startswith('1<') or arguments.startswith('1,'):
            words = unhex(arguments[first + 1:last]).decode().split()
            if words[:1] == ['ack']:
                self.acked = int(words[1])
                return 'ack'
        opened = self.file(arguments)
        if not opened:
            return None
        data, rest = unhex(arguments[first + 1:last]), arguments[last + 3:].split(', ')
        assert len(data) == int(rest[0]), 'strace cut the data short'
        if len(rest) > 1:
            offset = int(rest[1])
        else:
            offset = opened.inode.now.size if opened.append else opened.position
            opened.position = offset + len(data)
        self.running[pid] = opened.inode.write(offset, data)
        return 'write'

    def on_fsync(self, pid, arguments, result, begins, ends):
        opened = self.file(arguments)
        if begins and opened:
            inode = opened.inode
            self.running[pid] = inode, {model: inode.completed(model) for model in MODELS}
        if ends and pid in self.running:
            inode, covered = self.running.pop(pid)
            for model in MODELS if not self.lose_syncs else ():
                inode.sync(model, covered[model])
            return 'sync'
        return None

    on_fdatasync = on_fsync

    def on_sync_file_range(self, pid, arguments, result, begins, ends):
        opened = self.file(arguments)
        if begins and opened:
            self.running[pid] = opened.inode, opened.inode.completed('lenient')
        if ends and pid in self.running:
            inode, covered = self.running.pop(pid)
            _, offset, length = arguments.split(', ')[:3]
            start = int(offset) // PAGE * PAGE
            end = -(-(int(offset) + int(length)) // PAGE) * PAGE if int(length) else 1 << 62
            inode.sync('lenient', covered, start, end)
            return 'sync_file_range'
        return None

    def on_ftruncate(self, pid, arguments, result, begins, ends):
        opened = self.file(arguments)
        if ends and opened:
            opened.inode.truncate(int(arguments.split(', ')[1]))
            return 'truncate'
        return None

    def on_rename(self, pid, arguments, result, begins, ends):
        parts = arguments.split(', ')
        return self.move(self.path('', parts[0]), self.path('', parts[1])) if ends else None

    def on_renameat(self, pid, arguments, result, begins, ends):
        parts = arguments.split(', ')
        return self.move(self.path(*parts[:2]), self.path(*parts[2:4])) if ends else None

    on_renameat2 = on_renameat

    def move(self, old, new):
        if self.inside(old) and old in self.names:
            self.names[new] = self.names.pop(old)
            return 'rename'
        if self.inside(old):
            self.problems[f'rename of {old}'] += 1
        return None

    def remove(self, path, directory):
        if directory:
            self.dirs.discard(path)
        elif self.inside(path) and self.names.pop(path, None):
            return 'unlink'
        return None

    def on_unlink(self, pid, arguments, result, begins, ends):
        return self.remove(self.path('', arguments), False) if ends else None

    def on_unlinkat(self, pid, arguments, result, begins, ends):
        parts = arguments.split(', ')
        return self.remove(self.path(*parts[:2]), 'AT_REMOVEDIR' in arguments) if ends else None

    def on_rmdir(self, pid, arguments, result, begins, ends):
        return self.remove(self.path('', arguments), True) if ends else None

    def on_mkdir(self, pid, arguments, result, begins, ends):
        return self.make(self.path('', arguments.split(', ')[0])) if ends else None

    def on_mkdirat(self, pid, arguments, result, begins, ends):
        return self.make(self.path(*arguments.split(', ')[:2])) if ends else None

    def make(self, path):
        if not self.inside(path):
            return None
        self.dirs.add(path)
        return 'mkdir'

    def state(self, image):
        """The directory, every file as `image(path, inode)` says."""
        files = {path[len(self.root):]: image(path, inode) for path, inode in self.names.items()}
        return files, sorted(path[len(self.root):] for path in self.dirs)

    def differences(self):
        """Paths whose replayed content is not what the disk really holds."""
        wrong = []
        for path, inode in self.names.items():
            if path.endswith('-shm'):
                continue  # shared memory, written through a mapping and never trusted
            try:
                with open(path, 'rb') as file:
                    real = file.read()
            except OSError:
                real = None
            copy = bytearray(inode.now.size)
            for page, data in inode.now.pages.items():
                part = data[:max(0, inode.now.size - page * PAGE)]
                copy[page * PAGE:page * PAGE + len(part)] = part
            if real != bytes(copy):
                wrong.append(path)
        found = {os.path.join(top, name) for top, _, names in os.walk(self.root) for name in names}
        return wrong + sorted(found ^ set(self.names))


def record(options, work, root):
    """Runs the writer's sessions under strace; returns the traces."""
    traces, done = [], 0
    for number, (end, group) in enumerate(SESSIONS):
        trace, to = f'{work}/trace.{number}', options.steps * (number + 1) // len(SESSIONS)
        command = ['strace', '-f', '--seccomp-bpf', '-y', '-xx', '-s', '70000000', '-o', trace,
                   '-e', 'trace=' + SYSCALLS, f'{options.bin}/{options.workload}_writer', root,
                   str(to), str(done), end, str(group)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if result.returncode != 0:
            sys.exit(f'the writer failed: {result.stderr[-2000:]}')
        traces.append(trace)
        done = to
    return traces


class Checks:
    """Writes states out and runs the checker on them, several at a time."""

    def __init__(self, options, work):
        self.options, self.work = options, work
        self.pool = concurrent.futures.ThreadPoolExecutor(options.workers)
        self.slots = threading.Semaphore(options.workers * 2)
        self.lock, self.tried = threading.Lock(), collections.Counter()
        self.failed, self.examples, self.number = collections.Counter(), [], 0

    def submit(self, state, about):
        self.slots.acquire()
        self.number += 1
        self.pool.submit(self.run, state, about, f'{self.work}/state-{self.number}')

    def run(self, state, about, directory):
        try:
            emit(state, directory)
            answer = self.answer(directory, about)
            with self.lock:
                self.tried[about['kind']] += 1
                if not answer.startswith('OK'):
                    self.failed[about['kind']] += 1
                    self.examples.append({**about, 'answer': answer})
                    if self.options.keep and len(self.examples) <= 5:
                        emit(state, f'{self.options.keep}/failed-{len(self.examples)}')
        except Exception as error:  # a broken harness must not look like success
            with self.lock:
                self.failed['harness'] += 1
                self.examples.append({**about, 'answer': f'harness: {error!r}'})
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            self.slots.release()

    def answer(self, directory, about):
        command = [f'{self.options.bin}/{self.options.workload}_check', directory, str(about['acked']),
                   str(about['group'])]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            return 'hangs'
        lines = result.stdout.strip().splitlines() or ['']
        if result.returncode in (0, 1):
            return lines[-1]
        return f'exit {result.returncode}: {result.stderr[-400:]}'


def emit(state, directory):
    files, dirs = state
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory, 0o700)
    for path in dirs:
        os.makedirs(directory + path, exist_ok=True)
    for path, pages in files.items():
        os.makedirs(os.path.dirname(directory + path), exist_ok=True)
        pages.save(directory + path)


def choose_points(events, count, rng):
    """Moments: 40% right after an acknowledgement, a quarter around rare events, the
    rest anywhere."""
    acks = [at for at, event in enumerate(events) if event == 'ack']
    rare = {'truncate', 'rename', 'unlink', 'create', 'mkdir'}
    around = sorted({near for at, event in enumerate(events) if event in rare
                     for near in (at - 1, at, at + 1) if 0 <= near < len(events)})
    points = set(rng.sample(acks, min(len(acks), count * 2 // 5)))
    points |= set(rng.sample(around, min(len(around), count // 4)))
    while len(points) < min(count, len(events)):
        points.add(rng.randrange(len(events)))
    return points


def garbage(pages, rng):
    other = Pages()
    other.write(0, rng.randbytes(max(1, pages.size)))
    return other


def check_moment(replay, at, event, checks, options):
    """All states of one moment."""
    about = {'at': at, 'event': event, 'acked': replay.acked, 'group': replay.group}
    rng = random.Random(f'{options.seed}/{at}')
    submit = lambda kind, image: checks.submit(replay.state(image), {**about, 'kind': kind})
    submit('kill', lambda path, inode: inode.now.copy())
    submit('views', lambda path, inode:
           garbage(inode.now, rng) if '/views/' in path else inode.now.copy())
    for model in MODELS:
        submit(f'durable {model}', lambda path, inode: inode.durable[model].copy())
        for number in range(options.torn):
            plan = dict(PLANS[(at + number) % len(PLANS)], sector=rng.choice([512, PAGE]))
            submit(f'torn {model}', lambda path, inode: inode.torn(model, rng, plan))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--bin', required=True, help='where the writers and checkers are')
    parser.add_argument('--workload', choices=['crash', 'run'], default='crash',
                        help='steps of the store, or runs of agents over it')
    parser.add_argument('--steps', type=int, default=2000, help='steps of the workload')
    parser.add_argument('--points', type=int, default=130, help='moments of power loss')
    parser.add_argument('--torn', type=int, default=3, help='torn states per moment and model')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 2)
    parser.add_argument('--seconds', type=int, default=3000, help='stop sampling after this')
    parser.add_argument('--minimum', type=int, default=1, help='fail with fewer states')
    parser.add_argument('--lose-syncs', action='store_true',
                        help='pretend that no sync did anything: shows that losses are found')
    parser.add_argument('--keep', help='directory for failed states')
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    return options


def report(replay, checks, points, seconds):
    tried, failed = sum(checks.tried.values()), sum(checks.failed.values())
    for kind in sorted(checks.tried | checks.failed):
        print(f'  {kind:16} {checks.failed[kind]:4} failed of {checks.tried[kind]}')
    for example in checks.examples[:10]:
        print('  ', json.dumps(example))
    print(f'power loss: {failed} of {tried} states failed, {points} moments, '
          f'{replay.acked} acknowledged steps, {seconds:.0f} s')
    return tried, failed


def main():
    options, started = arguments(), time.time()
    if not shutil.which('strace'):
        print('power loss: SKIPPED, strace is not installed')
        return 77
    shm = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix='powerloss-', dir=shm) as work:
        os.environ['CRASH_KEY'] = f'{work}/audit.key'
        os.environ['CRASH_DATA'] = f'{work}/data'
        root = f'{work}/data' if options.workload == 'crash' else f'{work}/data/journal'
        os.makedirs(os.path.dirname(root), exist_ok=True)
        traces, events = record(options, work, root), []
        first = Replay(root, lambda replay, at, event: events.append(event))
        first.run(traces)
        wrong = first.differences()
        print('events:', dict(collections.Counter(events)), 'not modelled:', dict(first.problems))
        if wrong or first.problems:
            sys.exit(f'the replay is not what happened: {wrong[:5]} {dict(first.problems)}')
        first_ack = events.index('ack') if options.workload == 'run' else 0
        drawn = choose_points(events[first_ack:], options.points, random.Random(options.seed))
        points = {at + first_ack for at in drawn}
        checks = Checks(options, work)

        def at_event(replay, at, event):
            if at in points and time.time() - started < options.seconds:
                check_moment(replay, at, event, checks, options)

        second = Replay(root, at_event, options.lose_syncs)
        second.run(traces)
        checks.pool.shutdown(wait=True)
        tried, failed = report(second, checks, len(points), time.time() - started)
        return 0 if failed == 0 and tried >= options.minimum else 1


if __name__ == '__main__':
    sys.exit(main())

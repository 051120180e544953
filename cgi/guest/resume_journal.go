package guest

import (
	"errors"
	"slices"

	"github.com/tetratelabs/wazero/sys"
)

// maxTranscript bounds what a guest may read before its resume point, in bytes.
const maxTranscript = 64 << 20

var (
	errTranscript = errors.New("it reads more than 64 MiB before its resume point")
	errDiverged   = errors.New("it did not do the same again")
)

// transcript is what system calls answered a guest on its way to the resume point. Code does the same when it gets the
// same answers, so another instance gets there in exactly the same state, and nothing outside is done twice.
type transcript struct {
	answers []answer
	size    int // bytes of all
}

// answer is that of one system call.
type answer struct {
	errno   errno
	written []piece
}

// piece is a part of the memory that the system call has changed.
type piece struct {
	addr  uint32
	bytes []byte
}

// touched is a part of the memory that the running system call reads or is going to write.
type touched struct {
	addr        uint32
	now, before []byte
}

// journal is a guest's way through a transcript: it writes one, or repeats one.
type journal struct {
	transcript *transcript
	repeats    bool
	next       int // answer to repeat
	touched    []touched
	err        error // why the guest was ended
}

// answer calls f and records what it does, or does what it did before.
func (j *journal) answer(g *guest, f function, p params) errno {
	if j.repeats {
		return j.repeat(g)
	}
	j.touched = j.touched[:0]
	a := answer{errno: errnoOf(f.call(g, p))}
	for _, t := range j.touched {
		if p := t.changed(); p.bytes != nil {
			j.transcript.size += len(p.bytes)
			a.written = append(a.written, p)
		}
	}
	j.transcript.size += 32 // of the answer itself
	if j.transcript.size > maxTranscript {
		j.end(errTranscript)
	}
	j.transcript.answers = append(j.transcript.answers, a)
	return a.errno
}

// touch notes a part of the memory before the running system call may write to it.
func (j *journal) touch(addr uint32, b []byte) {
	if !j.repeats {
		j.touched = append(j.touched, touched{addr, b, slices.Clone(b)})
	}
}

// changed is what of it is not as before, from the first byte to the last.
func (t touched) changed() piece {
	first, end := 0, len(t.now)
	for first < end && t.now[first] == t.before[first] {
		first++
	}
	for end > first && t.now[end-1] == t.before[end-1] {
		end--
	}
	if first == end {
		return piece{}
	}
	return piece{t.addr + uint32(first), slices.Clone(t.now[first:end])}
}

func (j *journal) repeat(g *guest) errno {
	if j.finished() {
		j.end(errDiverged)
	}
	a := j.transcript.answers[j.next]
	j.next++
	for _, w := range a.written {
		if !g.memory.Write(w.addr, w.bytes) {
			j.end(errDiverged)
		}
	}
	return a.errno
}

// end stops the guest.
func (j *journal) end(err error) {
	j.err = err
	panic(sys.NewExitError(sys.ExitCodeContextCanceled))
}

// finished says whether the guest has got all answers.
func (j *journal) finished() bool {
	return j.next == len(j.transcript.answers)
}

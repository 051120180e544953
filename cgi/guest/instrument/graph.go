package instrument

import "slices"

// The graph of calls has a node for each function that the module defines, and one, the table, that stands for what is
// known only when the guest runs: indirect calls lead to it, and it leads to each function whose address is taken.

// visit is a node that the search is in, and how many of the calls from it have been followed.
type visit struct {
	node, followed int
}

// breakCycles chooses the functions that get a check at their entry, so that each cycle of calls goes through one of
// them: those that a search in depth comes back to while it is in them, and those behind the table that lead back to
// it. It returns the functions in an order in which callees come before their callers, but for the chosen ones.
func (m *module) breakCycles() (order []int) {
	const unknown, open, closed = 0, 1, 2
	table := len(m.functions)
	state := make([]byte, table+1)
	for root := table; root >= 0; root-- {
		if state[root] != unknown {
			continue
		}
		state[root] = open
		for path := []visit{{node: root}}; len(path) > 0; {
			at := &path[len(path)-1]
			next := m.call(*at)
			switch {
			case next < 0:
				state[at.node] = closed
				order = append(order, at.node)
				path = path[:len(path)-1]
				continue
			case state[next] == unknown: // stay, to see it again when it is closed
				state[next] = open
				path = append(path, visit{node: next})
				continue
			case next != table && state[next] == open:
				m.functions[next].checked = true
			case at.node != table && (next == table || m.functions[next].indirect):
				m.functions[at.node].indirect = true
			}
			at.followed++
		}
	}
	for _, taken := range m.taken {
		f := &m.functions[taken]
		f.taken = true
		f.checked = f.checked || f.indirect
	}
	return slices.DeleteFunc(order, func(node int) bool { return node == table })
}

// call is the node that the next call from a node leads to, -1 behind the last.
func (m *module) call(v visit) int {
	table := len(m.functions)
	if v.node == table {
		if v.followed < len(m.taken) {
			return int(m.taken[v.followed])
		}
		return -1
	}
	f := &m.functions[v.node]
	if v.followed < len(f.calls) {
		return int(f.calls[v.followed])
	}
	if v.followed == len(f.calls) && f.indirect {
		return table
	}
	return -1
}

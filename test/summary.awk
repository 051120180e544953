# Ends the output of go test with what came of it: what failed, each with the first lines of its message, and, with -v, how many passed.
{ print }
/^=== / { name = $3 }
/^ *--- / {
	name = $3
	if ($2 == "PASS:") passed++
	if ($2 == "FAIL:") failed[++failures] = name
	next
}
/^(panic|fatal error): / { failed[++failures] = name = $0 }
/^(    |\t+(running tests:|Test))/ && lines[name]++ < 20 { said[name] = said[name] $0 "\n" }
END {
	for (i = 1; i <= failures; i++) printf "failed: %s\n%s", failed[i], said[failed[i]]
	if (passed) printf "%d passed, %d failed\n", passed, failures
}

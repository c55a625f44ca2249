# SPDX-License-Identifier: Apache-2.0
# Fish completion for weir.
function __weir_settings
	weir serve --help-config 2>/dev/null | string match -rg '^([a-z][a-z_.]*) = ' | string replace -r '$' =
end

complete -c weir -f
complete -c weir -n __fish_use_subcommand -a serve -d 'serve a store'
complete -c weir -n __fish_use_subcommand -a kv -d 'read and change single keys of a running server'
complete -c weir -n __fish_use_subcommand -a cert -d 'make a certificate to try TLS with'
complete -c weir -n __fish_use_subcommand -a top -d 'show what a running server does'
complete -c weir -n __fish_use_subcommand -a bench -d 'put load on a running server'
complete -c weir -n __fish_use_subcommand -a inspect -d 'show the machine, the plan and the transports'
complete -c weir -n __fish_use_subcommand -a check-config -d 'say what is wrong with a configuration'
complete -c weir -n __fish_use_subcommand -a check -d 'say whether a store that is not served is good'
complete -c weir -n __fish_use_subcommand -a dump -d 'list what is on the device of a store'
complete -c weir -n __fish_use_subcommand -a torture -d 'kill a server again and again'

set -l conf '__fish_seen_subcommand_from serve inspect check-config check dump torture'
complete -c weir -n $conf -s c -l config -r -F -d 'read settings from a file'
complete -c weir -n $conf -s s -l set -x -a '(__weir_settings)' -d 'set one setting'
complete -c weir -n '__fish_seen_subcommand_from serve' -l help-config -d 'list all settings'
complete -c weir -n '__fish_seen_subcommand_from serve' -l insecure-i-know -d 'listen beyond this machine without a password'
complete -c weir -n '__fish_seen_subcommand_from serve check-config check dump torture' -F
complete -c weir -n '__fish_seen_subcommand_from cert' -s n -l name -x -d 'a host or address'
complete -c weir -n '__fish_seen_subcommand_from cert' -s d -l days -x -d 'how long it is good for'
complete -c weir -n '__fish_seen_subcommand_from cert' -s f -l force -d 'replace files'
complete -c weir -n '__fish_seen_subcommand_from cert' -F
complete -c weir -n '__fish_seen_subcommand_from inspect' -s t -l topology -x -d 'machine in hwloc words'
complete -c weir -n '__fish_seen_subcommand_from inspect' -s x -l xml -r -F -d 'machine written by lstopo'
complete -c weir -n '__fish_seen_subcommand_from check' -l repair -d 'mend what can be mended'
complete -c weir -n '__fish_seen_subcommand_from check' -l yes -d 'do not ask'
complete -c weir -n '__fish_seen_subcommand_from check' -s q -l quiet -d 'damage only'
complete -c weir -n '__fish_seen_subcommand_from dump' -l super -d 'superblocks and roots'
complete -c weir -n '__fish_seen_subcommand_from dump' -l segments -d segments
complete -c weir -n '__fish_seen_subcommand_from dump' -l log -d 'frames and records'
complete -c weir -n '__fish_seen_subcommand_from dump' -l keys -d 'keys of the last checkpoint'
complete -c weir -n '__fish_seen_subcommand_from dump' -l json -d 'lines of JSON'
complete -c weir -n '__fish_seen_subcommand_from torture' -s n -l rounds -x -d 'kill it so often'
complete -c weir -n '__fish_seen_subcommand_from torture' -s t -l seconds -x -d 'begin no round after'
complete -c weir -n '__fish_seen_subcommand_from torture' -l seed -x -d 'numbers of an earlier run'
complete -c weir -n '__fish_seen_subcommand_from torture' -l keep -d 'leave the store there'

set -l client '__fish_seen_subcommand_from kv top bench'
complete -c weir -n $client -s a -l address -x -d 'of the server'
complete -c weir -n $client -s p -l password -x -d 'what to say with AUTH'
complete -c weir -n '__fish_seen_subcommand_from kv' -l store -r -F -d 'a store that nobody serves'
complete -c weir -n '__fish_seen_subcommand_from kv' -l values -d 'scan: values too'
complete -c weir -n '__fish_seen_subcommand_from kv' -a 'get put del scan cas incr'
complete -c weir -n '__fish_seen_subcommand_from top' -s i -l interval -x -d seconds
complete -c weir -n '__fish_seen_subcommand_from top' -s n -l count -x -d looks
complete -c weir -n '__fish_seen_subcommand_from top' -s l -l lines -d 'a line for each look'
complete -c weir -n '__fish_seen_subcommand_from bench' -s c -l connections -x -d connections
complete -c weir -n '__fish_seen_subcommand_from bench' -s P -l pipeline -x -d 'commands in flight'
complete -c weir -n '__fish_seen_subcommand_from bench' -s v -l value -x -d 'bytes of a value'
complete -c weir -n '__fish_seen_subcommand_from bench' -l keys -x -d 'keys drawn from'
complete -c weir -n '__fish_seen_subcommand_from bench' -s d -l duration -x -d 'seconds of each work'
complete -c weir -n '__fish_seen_subcommand_from bench' -l json -d 'lines of JSON'
complete -c weir -n '__fish_seen_subcommand_from bench' -a 'set get mixed'

# SPDX-License-Identifier: Apache-2.0
# Bash completion for weir: install as weir in the completions directory.
_weir_settings() {
	weir serve --help-config 2>/dev/null | sed -n 's/^\([a-z][a-z_.]*\) = .*/\1=/p'
}

_weir() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} options
	local client='--address --password --help'
	local conf='--config --set --help'

	# Bash takes = for a word of its own: after it there is nothing to offer.
	case $prev in
	--set | -s)
		COMPREPLY=($(compgen -W "$(_weir_settings)" -- "$cur"))
		compopt -o nospace
		return ;;
	--config | -c | --xml | -x)
		[[ ${COMP_WORDS[1]} != bench ]] && COMPREPLY=($(compgen -f -- "$cur"))
		return ;;
	esac
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W \
			'serve kv cert top bench inspect check dump torture check-config --help --version' -- "$cur"))
		return
	fi
	case ${COMP_WORDS[1]} in
	serve) options="$conf --help-config --insecure-i-know" ;;
	inspect) options="$conf --topology --xml" ;;
	check-config) options=$conf ;;
	check) options="$conf --repair --yes --quiet" ;;
	dump) options="$conf --super --segments --log --keys --json" ;;
	torture) options='--set --rounds --seconds --seed --keep --help' ;;
	kv) options="$client --store --values get put del scan cas incr" ;;
	cert) options='--name --days --force --help' ;;
	top) options="$client --interval --count --lines" ;;
	bench) options="$client --connections --pipeline --value --keys --duration --json set get mixed" ;;
	*) return ;;
	esac
	COMPREPLY=($(compgen -W "$options" -- "$cur"))
	[[ ${COMP_WORDS[1]} =~ ^(serve|cert|check|dump|torture)$ && $cur != -* ]] && COMPREPLY+=($(compgen -d -- "$cur"))
	[[ ${COMP_WORDS[1]} == check-config && $cur != -* ]] && COMPREPLY+=($(compgen -f -- "$cur"))
}
complete -F _weir weir

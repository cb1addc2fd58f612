# Completion of wgmon for bash, made by: wgmon completion bash
_wgmon() {
  local rest=${COMP_LINE#*"${COMP_WORDS[0]}"} words=() piece line
  # Bash splits --flag=value into three words. Join words that have no space between them.
  for piece in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ $rest == [^[:space:]]* ]]; then words[-1]+=$piece; else words+=("$piece"); fi
    rest=${rest#*"$piece"}
  done
  # Bash completes only the part of the word after its last = or colon, which is $2.
  local before=${words[-1]%"$2"}
  COMPREPLY=()
  while IFS=$'\t' read -r line _; do
    case $line in
      :file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
      :folder) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
      "$before$2"*) printf -v line %q "${line#"$before"}"; COMPREPLY+=("$line") ;;
    esac
  done < <("${1/#\~/$HOME}" __complete "${words[@]}" 2>/dev/null)
}
complete -F _wgmon wgmon

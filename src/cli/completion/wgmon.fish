# Completion of wgmon for fish, made by: wgmon completion fish
function __wgmon
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~' ~ -- $words[1])
    # Use env: fish itself would print an error if the program does not exist.
    for line in (env $program __complete $words[2..] "$current" 2>/dev/null)
        switch $line
            case :file
                complete -C "'' $current"
            case :folder
                __fish_complete_directories "$current" ''
            case '*'
                echo $line
        end
    end
end
complete -c wgmon -f -a '(__wgmon)'

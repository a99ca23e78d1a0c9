from intswitch.cli import main

main()

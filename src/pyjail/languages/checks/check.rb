require "etc"

case gets.chomp
when "hello" then puts "hello"
when "stdin" then puts $stdin.read.split.sum(&:to_i)
when "exception" then raise "as asked"
when "memory"
  kept = []
  loop { kept << "x" * 2**20 }
when "threads" then puts 4.times.map { Thread.new { (0...1000).sum } }.sum(&:value)
when "cpus" then puts Etc.nprocessors
end

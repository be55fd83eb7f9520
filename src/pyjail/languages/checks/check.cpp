#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

int main() {
    std::string mode;
    std::cin >> mode;
    if (mode == "hello") {
        std::cout << "hello\n";
    } else if (mode == "stdin") {
        long sum = 0;
        for (long number; std::cin >> number;) sum += number;
        std::cout << sum << "\n";
    } else if (mode == "exception") {
        throw std::runtime_error("as asked");
    } else if (mode == "memory") {
        std::vector<std::string> kept;
        while (true) kept.emplace_back(1 << 20, 'x');
    } else if (mode == "threads") {
        std::vector<long> sums(4);
        std::vector<std::thread> threads;
        for (auto &sum : sums)
            threads.emplace_back([&sum] { for (int i = 0; i < 1000; i++) sum += i; });
        for (auto &thread : threads) thread.join();
        std::cout << sums[0] + sums[1] + sums[2] + sums[3] << "\n";
    } else if (mode == "cpus") {
        std::cout << std::thread::hardware_concurrency() << "\n";
    }
}
